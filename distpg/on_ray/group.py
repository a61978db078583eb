"""The adapter between the dispatcher and Ray actors: what Ray says becomes reports, commands become calls."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import ray
from ray.exceptions import RayError, RayTaskError
from typing_extensions import override

from distpg.core import events
from distpg.core.policies import Weights
from distpg.core.tasks import Task, audited
from distpg.dispatch import messages
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.flight_recorder import Handle, recorded
from distpg.errors import DistpgError, EpisodeError, in_words
from distpg.learning.passes import Question
from distpg.on_ray import faults
from distpg.on_ray.admission import Admission
from distpg.on_ray.encoding import decode
from distpg.on_ray.farewell import Retired, close_actors
from distpg.on_ray.introduction import Introduction
from distpg.on_ray.metrics import RayMetrics
from distpg.on_ray.remote_runner import RemoteRunner
from distpg.on_ray.shared import Shared
from distpg.on_ray.side_channel import SideChannel
from distpg.sampling.env_runner import Answer
from distpg.sampling.group import (
    CollectTimes,
    EnvRunnerGroup,
    Gathered,
    Ticket,
    answers_differ,
    not_closed,
)
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.system.files import storage_error

# Ray's waits are cut into pieces, so that a signal is acted on soon and silence is noticed.
_WAIT_S = 0.1
_LOOK_FOR_ROOM_S = 2.0
# Runners tell so often how far they are, or several times before they would count as silent.
_BEAT_S = 0.25
# With more calls in flight it pays to ask, after the first that is finished, for all others that are.
_FEW_CALLS = 8


# What a runner was asked: whether it has its process, who it is, whether it is there still, or to play.
_Asked = Literal["placed", "join", "heartbeat", "call"]


class RayEnvRunnerGroup(EnvRunnerGroup):
    """EnvRunners as Ray actors, each with a call that it works on and at most one that waits behind it.

    Args:
        rules: The dispatcher's.
        new_actor: Starts the actor of the runner with this number, as ``actor.new_actors`` gives it.
        audit_every: About one task in so many is played twice and compared; 0: none.
        allow_mixed: Use runners whose arithmetic or environment differs, instead of refusing them.
        is_reproducible: Whether the environment is, as far as is known.
        room: Tells how many runners there is room for, from time to time; more are started then.
        run: Name of the run for the cluster's metrics; None: it publishes none.
        record: Where all that the dispatcher is told and orders is written.
    """

    def __init__(
        self,
        spec: EnvRunnerSpec,
        rules: messages.Rules,
        new_actor: Callable[[int, SideChannel], Any],
        on_event: events.OnEvent,
        *,
        audit_every: int = 0,
        allow_mixed: bool = False,
        is_reproducible: bool = True,
        room: Callable[[], int] | None = None,
        run: str | None = None,
        record: TextIO | None = None,
    ) -> None:
        self._spec = spec
        self._new_actor = new_actor
        self._on_event = on_event
        self._audit_every = audit_every
        self._allow_mixed = allow_mixed
        self._room = room
        self._record = record
        self._admission = Admission(spec, is_reproducible, on_event)
        self._dispatcher = Dispatcher(rules)
        self._advise: Handle = self._dispatcher.handle
        if record is not None:
            self._advise = recorded(self._dispatcher, rules, record)
        self._metrics = None if run is None else RayMetrics(run)
        self._channel = SideChannel(secrets.token_hex(8), min(_BEAT_S, rules.silent_after_s / 8))
        self._runners: dict[int, RemoteRunner] = {}
        self._asked: set[int] = set()
        self._retired = Retired()
        # What Ray will give, in the order in which it was asked for; of those gone since it means nothing.
        self._awaited: dict[Any, tuple[_Asked, RemoteRunner]] = {}
        self._weights, self._questions = Shared(), Shared()
        self._open: dict[Ticket, None] = {}
        self._latest: dict[Task, tuple[Any, int]] = {}
        self._accepted: dict[Task, tuple[Any, int]] = {}
        self._failures: dict[Task, EpisodeError] = {}
        self._given_up: list[tuple[Task, DistpgError]] = []
        self._num_calls = self._num_started = 0
        self._any_joined = False
        self._last_words = ""
        self._next_tick = self._next_look = 0.0
        self.times = CollectTimes()
        self._report(messages.TimePassed())

    @property
    @override
    def num_healthy(self) -> int:
        return self._dispatcher.num_ready

    @property
    @override
    def num_restarts(self) -> int:
        return max(0, self._num_started - self._dispatcher.num_runners)

    def wait_for(self, num_env_runners: int) -> None:
        """Wait until this many runners are ready.

        Raises:
            EnvRunnersError: Runners only ever end before they are ready.
        """
        while self.num_healthy < num_env_runners:
            self._wait()

    @override
    def add(
        self,
        tasks: Sequence[Task],
        weights: Weights,
        question: Question | None = None,
        runners: Sequence[int | None] = (),
    ) -> Ticket:
        ticket = Ticket(tuple(tasks))
        start = time.perf_counter()
        self._weights.add(tasks[0].weights_seq_no, weights)
        if question is not None:
            self._questions.add(tasks[0].question, question)
        self.times.broadcast_s += time.perf_counter() - start
        self._open[ticket] = None
        twice = audited(tasks, self._spec.seed, self._audit_every)
        self._report(messages.Added(ticket.tasks, tuple(sorted(twice)), tuple(runners)))
        return ticket

    @override
    def gather(self, ticket: Ticket) -> Gathered:
        first, last = ticket.tasks[0], ticket.tasks[-1]
        waiting = list(ticket.tasks)
        while waiting:
            while waiting and self._dispatcher.is_finished(waiting[-1]):
                waiting.pop()
            for task, error in self._given_up:
                # What is wrong with a later iteration is not this one's concern: training may end here.
                is_later = (
                    not first.first_episode <= task.first_episode < last.first_episode + last.num_episodes
                )
                if task.plays == first.plays and not is_later:
                    raise error
            if waiting:
                self._wait()
        del self._open[ticket]
        self._weights.keep({other.tasks[0].weights_seq_no for other in self._open})
        self._questions.keep({other.tasks[0].question for other in self._open})
        outcomes, runners = zip(*(self._accepted.pop(task) for task in ticket.tasks), strict=True)
        return Gathered(list(outcomes), runners)

    @override
    def publish(self, metrics: Mapping[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.publish(metrics)

    @override
    def close(self) -> None:
        self._channel.stop()
        complaint = close_actors([runner.actor for runner in self._runners.values() if runner.has_joined])
        if complaint is not None:
            self._on_event(not_closed(complaint))
        for runner in self._runners.values():
            ray.kill(runner.actor)
        self._retired.kill()
        self._channel.clear()
        self._runners.clear()
        self._awaited.clear()

    # What Ray says becomes reports.

    def _wait(self) -> None:
        """Wait until something happens, and do what the dispatcher makes of it."""
        if self._awaited:
            for reference in self._first_finished(list(self._awaited)):
                if (report := self._report_of(reference)) is not None:
                    self._report(report)
        else:
            time.sleep(_WAIT_S)  # every runner is gone, and the next one is not due yet
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + _WAIT_S
            self._look_for_room()
            self._listen()
            self._report(messages.TimePassed())

    def _look_for_room(self) -> None:
        if self._room is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_FOR_ROOM_S
            if (room := self._room()) > self._dispatcher.num_runners:
                self._report(messages.Grown(room))

    def _listen(self) -> None:
        """What those that are at work have told since they were asked."""
        self._asked &= self._runners.keys()
        for number, beat in self._channel.beats(self._asked).items() if self._asked else ():
            runner = self._runners.get(number)
            if runner is not None and beat.number > runner.beats and beat.call == runner.current_call:
                runner.beats = beat.number
                self._asked.discard(number)
                self._report(messages.Heard(number, beat.steps))

    def _first_finished(self, waiting: list[Any]) -> list[Any]:
        try:
            finished: list[Any] = ray.wait(waiting, num_returns=1, timeout=_WAIT_S)[0]
            if finished and len(waiting) > _FEW_CALLS:
                finished = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        except (RayError, ConnectionError) as error:
            raise faults.cluster_gone(error) from error
        return finished

    def _report_of(self, reference: Any) -> messages.Report | None:
        """What an answer of Ray's means; None where it means nothing any more."""
        question, runner = self._awaited.pop(reference)
        if runner.number not in self._runners:
            return None  # it was stopped since
        try:
            result = ray.get(reference)
        except RayError as error:
            return self._fault(question, runner, error)
        match question:
            case "placed":
                return messages.Placed(runner.number)
            case "join":
                return self._joined(runner, result)
            case "heartbeat":
                return messages.Heard(runner.number, 0)
            case "call":
                return self._answered(runner, result)

    def _joined(self, runner: RemoteRunner, introduction: Introduction) -> messages.Report | None:
        why = self._admission.difference(runner.number, introduction)
        if why is False:
            self._join(runner)
            return None
        if why is not None:
            if not self._allow_mixed:
                return self._refuse(runner, why)
            self._on_event(events.EnvRunnerMixed(runner.number, why))
        self._any_joined = runner.has_joined = True
        self._on_event(events.EnvRunnerJoined(runner.number))
        return messages.Joined(runner.number)

    def _answered(self, runner: RemoteRunner, result: bytes) -> messages.Report:
        tasks = runner.returned()
        self._await_call(runner)
        if not result:
            return messages.Skipped(runner.number)
        answer: Answer = decode(result)
        self.times.add_sampling(runner.number, answer.seconds)
        for task, outcome in zip(tasks, answer.outcomes, strict=True):
            if not isinstance(outcome, EpisodeError):
                self._latest[task] = outcome, runner.number
            else:
                self._failures[task] = outcome
                self._on_event(events.EpisodeTriedElsewhere(outcome.episode, runner.number, outcome.message))
        return messages.Answered(runner.number, answer.seconds, answer.steps, answer.digests)

    def _fault(self, question: _Asked, runner: RemoteRunner, error: RayError) -> messages.Report | None:
        cause = faults.cause_of(error)
        if isinstance(cause, DistpgError) and (question == "call" or not self._any_joined):
            raise cause from error
        if isinstance(error, RayTaskError) and question != "call":
            return self._refuse(runner, f"it cannot start: {in_words(cause)}")
        if question == "heartbeat" and runner.call is not None:
            return None  # its death shows in its call too
        self._last_words = faults.in_a_line(cause)
        self._on_event(events.EnvRunnerDied(runner.number, runner.first_episodes))
        return self._gone(runner)

    def _refuse(self, runner: RemoteRunner, why: str) -> messages.Report:
        """Do without a runner, and start another, here or on another node."""
        self._last_words = f"refused, since {why}"
        self._on_event(events.EnvRunnerRefused(runner.number, faults.in_a_line(why)))
        return self._gone(runner)

    def _gone(self, runner: RemoteRunner) -> messages.Died:
        # One that is unavailable may come back, to nobody's use.
        ray.kill(self._runners.pop(runner.number).actor)
        return messages.Died(runner.number)

    # Commands become calls.

    def _report(self, report: messages.Report) -> None:
        try:
            commands = self._advise(report, time.monotonic())
        except OSError as error:
            assert self._record is not None
            raise storage_error(Path(self._record.name), error) from error
        for command in commands:
            self._do(command)
        self._latest.clear()  # what was not accepted at once never will be

    def _do(self, command: messages.Command) -> None:
        match command:
            case messages.Send():
                self._send(command)
            case messages.Accept(task):
                self._accepted[task] = self._latest.pop(task)
                self._failures.pop(task, None)
            case messages.Withdraw(number):
                call = self._runners[number].next_call
                assert call is not None
                self._channel.withdraw(number, call.number)
            case messages.Ask(number):
                runner = self._runners[number]
                if runner.current_call is not None:
                    self._asked.add(number)
                else:
                    self._awaited[runner.actor.placed.remote()] = ("heartbeat", runner)
            case messages.Start(number):
                self._start(number)
            case messages.Join(number):
                self._join(self._runners[number])
            case messages.Stop(number, why):
                self._stop(number, why)
            case messages.Differ(task, runners):
                self._on_event(answers_differ(task, runners))
            case messages.Search(task):
                self._on_event(events.TaskSearched(task.first_episode, task.num_episodes))
            case messages.GiveUp(None):
                raise faults.none_starts(self._last_words)
            case messages.GiveUp(Task() as task, "failed"):
                self._given_up.append((task, self._failures[task]))
            case messages.GiveUp(Task() as task):
                self._given_up.append((task, faults.deadly(self._spec.env.env_id, task, self._last_words)))

    def _send(self, command: messages.Send) -> None:
        runner, tasks = self._runners[command.runner], command.tasks
        self._num_calls += 1
        weights, asked = self._weights[tasks[0].weights_seq_no], tasks[0].question
        question = self._questions[asked] if asked else None
        runner.send(self._num_calls, tasks, weights, question, command.why == "ahead")
        if command.why != "ahead":
            self._await_call(runner)
        if command.why == "hedge":
            self._on_event(events.TasksHedged(runner.number, runner.first_episodes))

    def _await_call(self, runner: RemoteRunner) -> None:
        if runner.call is not None:
            self._awaited[runner.call.reference] = ("call", runner)

    def _start(self, number: int) -> None:
        self._num_started += 1
        runner = self._runners[number] = RemoteRunner(number, self._new_actor(number, self._channel))
        self._awaited[runner.actor.placed.remote()] = ("placed", runner)

    def _join(self, runner: RemoteRunner) -> None:
        self._admission.prepare()
        self._awaited[runner.actor.join.remote()] = ("join", runner)

    def _stop(self, number: int, why: Literal["silent", "not started", "recycled"]) -> None:
        runner = self._runners.pop(number)
        if why == "recycled":
            self._retired.add(runner.actor)
        else:
            ray.kill(runner.actor)  # whatever it still answers comes too late
            self._last_words = f"it made no step for too long ({why})"
        self._on_event(faults.stopped(why, number, runner.first_episodes))
