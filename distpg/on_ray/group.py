"""The adapter between the dispatcher and Ray actors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from distpg.core import events
from distpg.core.episodes import EpisodeBatch, concatenate
from distpg.core.policies import Weights
from distpg.core.tasks import Task
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.messages import (
    Accept,
    Answered,
    Ask,
    Command,
    Died,
    Differ,
    Event,
    GiveUp,
    Heard,
    Joined,
    Placed,
    Rules,
    Search,
    Send,
    Skipped,
    Start,
    Stop,
    TimePassed,
    Withdraw,
)
from distpg.errors import (
    ClusterError,
    DistpgError,
    EnvRunnersError,
    EpisodeError,
)
from distpg.on_ray.actor import (
    Admission,
    EnvRunner,
    Introduction,
    decode_answer,
    encode,
)
from distpg.on_ray.metrics import RayMetrics
from distpg.sampling.env_runner import Answer, EnvRunnerSpec
from distpg.sampling.group import CollectTimes, answers_differ

# An argument of a call below this size travels in the call itself, in half the time of a trip through the
# object store; a larger one is stored once and fetched by each node.
_INLINE_BYTES = 64 * 1024
# Ray's waits are cut into pieces, so that a signal is acted on soon and silence is noticed.
_WAIT_S = 0.1
_LOOK_FOR_ROOM_S = 2.0
# With more calls in flight it pays to ask, after the first that is finished, for all others that are.
_FEW_CALLS = 8


class _Call(NamedTuple):
    """A call in flight: what Ray will give for it, its number, and its tasks."""

    reference: Any
    number: int
    tasks: tuple[Task, ...]


class RayEnvRunnerGroup:
    """EnvRunners as Ray actors, each with a call that it works on and at most one that waits behind it."""

    def __init__(
        self,
        spec: EnvRunnerSpec,
        num_cpus_per_env_runner: float,
        rules: Rules,
        on_event: events.OnEvent,
        allow_mixed: bool = False,
        is_reproducible: bool = True,
        room: Callable[[], int] | None = None,
        run: str | None = None,
    ) -> None:
        """Start runners.

        Args:
            room: Tells how many runners there is room for, from time to time; more are started then.
            run: Name of the run for the cluster's metrics; None: it publishes none.
        """
        self._spec = spec
        self._allow_mixed = allow_mixed
        self._admission = Admission(spec, is_reproducible, on_event)
        # Ray's own restarts and retries take seconds, and would hide a death from the dispatcher.
        remote = ray.remote(
            num_cpus=num_cpus_per_env_runner,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={"heartbeat": 1},
        )
        self._actor_class = remote(EnvRunner)
        self._on_event = on_event
        self._dispatcher = Dispatcher(rules)
        self._room = room
        self._metrics = None if run is None else RayMetrics(run)
        self._next_look = 0.0
        self._actors: dict[int, Any] = {}
        self._placements: dict[Any, int] = {}
        self._joins: dict[Any, int] = {}
        self._calls: dict[Any, tuple[int, tuple[Task, ...]]] = {}
        # Looked at only once the call before was, so that a runner's answers are taken in their order.
        self._calls_ahead: dict[int, _Call] = {}
        self._num_calls = 0
        self._heartbeats: dict[Any, int] = {}
        self._steps_before: dict[int, int] = {}
        # Encoded, or where the object store has them encoded, by the number of updates that made them.
        self._weights: dict[int, Any] = {}
        self._latest: dict[Task, EpisodeBatch] = {}
        self._accepted: dict[Task, EpisodeBatch] = {}
        self._failures: dict[Task, EpisodeError] = {}
        self._given_up: list[tuple[Task, DistpgError]] = []
        self._num_started = 0
        self._any_joined = False
        self._last_words = ""
        self._next_tick = 0.0
        self.times = CollectTimes()
        self._handle(TimePassed())

    @property
    def num_healthy(self) -> int:
        """Runners that have joined and not died."""
        return self._dispatcher.num_ready

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        return max(0, self._num_started - self._dispatcher.num_runners)

    def wait_for(self, num_env_runners: int) -> None:
        """Wait until this many runners are ready.

        Raises:
            EnvRunnersError: Runners only ever end before they are ready.
        """
        while self.num_healthy < num_env_runners:
            self._wait()

    def add(self, tasks: Sequence[Task], weights: Weights) -> None:
        """As :class:`distpg.sampling.group.EnvRunnerGroup`."""
        seq_no = tasks[0].weights_seq_no
        if seq_no not in self._weights:
            start = time.perf_counter()
            encoded = encode(weights)
            self._weights[seq_no] = ray.put(encoded) if len(encoded) > _INLINE_BYTES else encoded
            self.times.broadcast_s += time.perf_counter() - start
        self._apply(self._dispatcher.add(tasks, time.monotonic()))

    def collect(self, tasks: Sequence[Task]) -> EpisodeBatch:
        """As :class:`distpg.sampling.group.EnvRunnerGroup`."""
        first, last = tasks[0], tasks[-1]
        waiting = list(tasks)
        while waiting:
            while waiting and self._dispatcher.is_finished(waiting[-1]):
                waiting.pop()
            for task, error in self._given_up:
                # What is wrong with a later iteration is not this one's concern: training may end here.
                if first.first_episode <= task.first_episode < last.first_episode + last.num_episodes:
                    raise error
            if waiting:
                self._wait()
        for outdated in [seq_no for seq_no in self._weights if seq_no < first.weights_seq_no]:
            del self._weights[outdated]
        return concatenate([self._accepted.pop(task) for task in tasks])

    def publish(self, metrics: Mapping[str, Any]) -> None:
        """As :class:`distpg.sampling.group.EnvRunnerGroup`."""
        if self._metrics is not None:
            self._metrics.publish(metrics)

    def close(self) -> None:
        """End the runners; work in flight is lost."""
        for actor in self._actors.values():
            ray.kill(actor)
        calls = (self._calls, self._calls_ahead, self._heartbeats)
        for known in (self._actors, self._placements, self._joins, *calls):
            known.clear()

    def _wait(self) -> None:
        """Wait until something happens, and do what the dispatcher makes of it."""
        waiting = [*self._calls, *self._heartbeats, *self._joins, *self._placements]
        finished: list[Any] = []
        if waiting:
            finished = self._first_finished(waiting)
        else:
            time.sleep(_WAIT_S)  # every runner is gone, and the next one is not due yet
        for reference in finished:
            event = self._event_of(reference)
            if event is not None:
                self._handle(event)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + _WAIT_S
            self._look_for_room()
            self._handle(TimePassed())

    def _look_for_room(self) -> None:
        if self._room is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_FOR_ROOM_S
            self._dispatcher.grow(self._room())

    def _first_finished(self, waiting: list[Any]) -> list[Any]:
        try:
            finished: list[Any] = ray.wait(waiting, num_returns=1, timeout=_WAIT_S)[0]
            if finished and len(waiting) > _FEW_CALLS:
                finished = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        except (RayError, ConnectionError) as error:
            line = " ".join(str(error).split())[:300]
            raise ClusterError(
                f"the Ray cluster is gone: {line}", "Start it again, then: distpg resume RUN."
            ) from error
        return finished

    def _handle(self, event: Event) -> None:
        self._apply(self._dispatcher.handle(event, time.monotonic()))
        self._latest.clear()  # what was not accepted at once never will be

    def _event_of(self, reference: Any) -> Event | None:
        """What a finished call means; None where it means nothing any more."""
        tasks: tuple[Task, ...] = ()
        if reference in self._calls:
            runner, tasks = self._calls.pop(reference)
            if (following := self._calls_ahead.pop(runner, None)) is not None:
                self._calls[following.reference] = (runner, following.tasks)
        elif reference in self._joins:
            runner = self._joins.pop(reference)
        elif reference in self._heartbeats:
            return self._heard(self._heartbeats.pop(reference), reference)
        elif reference in self._placements:
            return Placed(self._placements.pop(reference))  # if it died instead, its join says so
        else:
            return None  # its runner was stopped since
        if runner not in self._actors:
            return None
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            if tasks or not self._any_joined:
                raise _cause(error) from error
            return self._refuse(runner, f"it cannot start: {_cause(error)}")
        except RayError as error:
            return self._death(runner, tasks, error)
        if not tasks:
            return self._joined(runner, result)
        return self._answered(runner, tasks, decode_answer(result)) if result else Skipped(runner)

    def _joined(self, runner: int, introduction: Introduction) -> Event:
        why = self._admission.difference(introduction)
        if why is not None:
            if not self._allow_mixed:
                return self._refuse(runner, why)
            self._on_event(events.EnvRunnerMixed(runner, why))
        self._any_joined = True
        self._on_event(events.EnvRunnerJoined(runner))
        return Joined(runner)

    def _refuse(self, runner: int, why: str) -> Died:
        """Do without a runner, and start another, here or on another node."""
        self._last_words = f"refused, since {why}"
        self._on_event(events.EnvRunnerRefused(runner, " ".join(why.split())[:300]))
        ray.kill(self._actors.pop(runner))
        return Died(runner)

    def _answered(self, runner: int, tasks: tuple[Task, ...], answer: Answer) -> Answered:
        self.times.add_sampling(runner, answer.seconds)
        for task, outcome in zip(tasks, answer.outcomes, strict=True):
            if isinstance(outcome, EpisodeBatch):
                self._latest[task] = outcome
                continue
            self._failures[task] = outcome
            self._on_event(events.EpisodeTriedElsewhere(outcome.episode, runner, outcome.message))
        self._steps_before[runner] += answer.steps
        return Answered(runner, answer.seconds, answer.steps, answer.digests)

    def _heard(self, runner: int, reference: Any) -> Event | None:
        if runner not in self._actors:
            return None
        try:
            steps = ray.get(reference)
        except RayError as error:
            if any(runner == busy for busy, _ in self._calls.values()):
                return None  # its death shows in its call too
            return self._death(runner, (), error)
        return Heard(runner, steps - self._steps_before[runner])

    def _death(self, runner: int, tasks: tuple[Task, ...], error: Exception) -> Event | None:
        if runner not in self._actors:
            return None
        # Unavailable ones may come back, to nobody's use.
        ray.kill(self._actors.pop(runner))
        self._last_words = " ".join(str(error).split())[:300]
        self._on_event(events.EnvRunnerDied(runner, _first_episodes(tasks)))
        return Died(runner)

    def _apply(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self._send(command)
            elif isinstance(command, Accept):
                self._accepted[command.task] = self._latest.pop(command.task)
                self._failures.pop(command.task, None)
            elif isinstance(command, Withdraw):
                self._actors[command.runner].withdraw.remote(self._calls_ahead[command.runner].number)
            elif isinstance(command, Ask):
                self._heartbeats[self._actors[command.runner].heartbeat.remote()] = command.runner
            elif isinstance(command, Start):
                self._start(command.runner)
            elif isinstance(command, Stop):
                self._stop(command)
            elif isinstance(command, Differ):
                self._on_event(answers_differ(command.task, command.runners))
            elif isinstance(command, Search):
                self._on_event(events.TaskSearched(command.task.first_episode, command.task.num_episodes))
            elif command.task is None:
                raise self._surrender(command)
            else:
                self._given_up.append((command.task, self._surrender(command)))

    def _send(self, command: Send) -> None:
        weights = self._weights[command.tasks[0].weights_seq_no]
        self._num_calls += 1
        reference = self._actors[command.runner].answer_bytes.remote(
            self._num_calls, encode(command.tasks), weights
        )
        if command.why == "ahead":
            self._calls_ahead[command.runner] = _Call(reference, self._num_calls, command.tasks)
        else:
            self._calls[reference] = (command.runner, command.tasks)
        if command.why == "hedge":
            self._on_event(events.TasksHedged(command.runner, _first_episodes(command.tasks)))

    def _start(self, runner: int) -> None:
        self._num_started += 1
        self._steps_before[runner] = 0
        self._actors[runner] = self._actor_class.remote(self._spec)
        self._placements[self._actors[runner].placed.remote()] = runner
        self._joins[self._actors[runner].join.remote()] = runner

    def _stop(self, command: Stop) -> None:
        ray.kill(self._actors.pop(command.runner))
        if command.why != "recycled":
            self._last_words = f"it made no step for too long ({command.why})"
        lost: tuple[Task, ...] = ()
        self._calls_ahead.pop(command.runner, None)
        for reference, (runner, tasks) in list(self._calls.items()):
            if runner == command.runner:
                # Whatever it still answers comes too late.
                del self._calls[reference]
                lost = tasks
        kinds = {
            "silent": events.EnvRunnerSilent,
            "not started": events.EnvRunnerNotStarted,
            "recycled": events.EnvRunnerRecycled,
        }
        self._on_event(kinds[command.why](command.runner, _first_episodes(lost)))

    def _surrender(self, command: GiveUp) -> DistpgError:
        if command.task is None:
            return EnvRunnersError(
                f"no runner starts: {self._last_words or 'none was ready in time'}",
                "See --env-start-timeout-s and --allow-mixed; runners' logs are in Ray's session directory.",
            )
        if command.why == "failed":
            return self._failures[command.task]
        first, count = command.task.first_episode, command.task.num_episodes
        what = f"episode {first}" if count == 1 else f"one of episodes {first} to {first + count - 1}"
        return EpisodeError(
            f"{self._spec.env.env_id} ends or hangs the process that plays {what}: {self._last_words}",
            "See --sample-timeout-s if steps take long, --max-task-retries if machines are often lost.",
            first,
        )


def _first_episodes(tasks: Sequence[Task]) -> tuple[int, ...]:
    return tuple(task.first_episode for task in tasks)


def _cause(error: RayTaskError) -> Exception:
    """What the runner raised, without Ray's copy of its traceback."""
    cause = error.cause
    if isinstance(cause, DistpgError):
        return cause
    line = " ".join(str(cause).split())[:300]
    return EnvRunnersError(f"a runner failed: {type(cause).__name__}: {line}", "--debug shows where.")
