"""The adapter between the dispatcher and Ray actors."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from distpg import env_runners
from distpg.dispatch import Dispatcher
from distpg.env_runners import Answer, EnvRunnerSpec, Task, answers_differ
from distpg.episodes import EpisodeBatch, concatenate
from distpg.errors import ClusterError, DistpgError, EnvRunnersError, EpisodeError
from distpg.fingerprint import fingerprint, numerics_digest
from distpg.messages import (
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
    Rules,
    Search,
    Send,
    Start,
    Stop,
    TimePassed,
)
from distpg.numerics import was_pinned_late
from distpg.policies import Weights
from distpg.version import __version__

# An argument of a call below this size travels in the call itself, in half the time of a trip through the
# object store; a larger one is stored once and fetched by each node.
_INLINE_BYTES = 64 * 1024
_PICKLE = pickle.HIGHEST_PROTOCOL
# Ray's waits are cut into pieces, so that a signal is acted on soon and silence is noticed.
_WAIT_S = 0.1


class EnvRunner(env_runners.EnvRunner):
    """The actor; named so that `ps` shows ray::EnvRunner.

    Calls and answers travel as bytes, since Ray's own serialisation takes several times as long for a handful
    of small arrays, and would serialise the weights again for every runner.
    """

    def join(self) -> tuple[str, str, str, bool]:
        """Once the process is up: version of distpg, digests of its numerics and of its environment.

        Also whether the environment plays the same again, without which the digest means nothing.
        """
        plays = [fingerprint(self._spec) for _ in range(2)]
        if plays[0] != plays[1]:
            # An exception that comes once is no more than that: two of three decide.
            plays.append(fingerprint(self._spec))
        mine, times = Counter(plays).most_common(1)[0]
        return mine.distpg, mine.numerics, mine.environment, times > 1

    def answer_bytes(self, tasks: bytes, weights: bytes) -> bytes:
        """:meth:`answer`, pickled on both ways between processes of one run."""
        return pickle.dumps(self.answer(pickle.loads(tasks), pickle.loads(weights)), _PICKLE)

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> int:
        """Steps so far, from a second thread: it answers while the first one plays."""
        return self.steps


class RayEnvRunnerGroup:
    """EnvRunners as Ray actors, each with at most one call in flight."""

    def __init__(
        self,
        spec: EnvRunnerSpec,
        num_cpus_per_env_runner: float,
        rules: Rules,
        on_event: Callable[[dict[str, Any]], None],
        allow_mixed: bool = False,
        is_reproducible: bool = True,
    ) -> None:
        self._spec = spec
        self._allow_mixed = allow_mixed
        self._is_reproducible = is_reproducible
        self._numerics = numerics_digest(spec.policy)
        self._environment: str | None = None
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
        self._size = rules.num_runners
        self._actors: dict[int, Any] = {}
        self._joins: dict[Any, int] = {}
        self._calls: dict[Any, tuple[int, tuple[Task, ...]]] = {}
        self._heartbeats: dict[Any, int] = {}
        self._steps_before: dict[int, int] = {}
        self._weights: Any = None
        self._latest: dict[Task, EpisodeBatch] = {}
        self._accepted: dict[Task, EpisodeBatch] = {}
        self._failures: dict[Task, EpisodeError] = {}
        self._num_started = 0
        self._any_joined = False
        self._last_words = ""
        self._next_tick = 0.0
        self.sampling_seconds: dict[int, float] = {}
        """Seconds each runner spent sampling in the latest collect."""
        self._handle(TimePassed())

    @property
    def num_healthy(self) -> int:
        """Runners that have joined and not died."""
        return self._dispatcher.num_ready

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        return max(0, self._num_started - self._size)

    def wait_for(self, num_env_runners: int) -> None:
        """Wait until this many runners are ready.

        Raises:
            EnvRunnersError: Runners only ever end before they are ready.
        """
        while self.num_healthy < num_env_runners:
            self._wait()

    def collect(self, tasks: Sequence[Task], weights: Weights) -> EpisodeBatch:
        """As :class:`distpg.env_runners.EnvRunnerGroup`."""
        encoded = pickle.dumps(weights, _PICKLE)
        self._weights = ray.put(encoded) if len(encoded) > _INLINE_BYTES else encoded
        self._accepted, self._failures = {}, {}
        self.sampling_seconds = dict.fromkeys(self._actors, 0.0)
        self._apply(self._dispatcher.add(tasks, time.monotonic()))
        while not self._dispatcher.done:
            self._wait()
        return concatenate([self._accepted[task] for task in tasks])

    def close(self) -> None:
        """End the runners; work in flight is lost."""
        for actor in self._actors.values():
            ray.kill(actor)
        for waiting in (self._actors, self._joins, self._calls, self._heartbeats):
            waiting.clear()

    def _wait(self) -> None:
        """Wait until something happens, and do what the dispatcher makes of it."""
        waiting = [*self._calls, *self._heartbeats, *self._joins]
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
            self._handle(TimePassed())

    def _first_finished(self, waiting: list[Any]) -> list[Any]:
        try:
            finished: list[Any] = ray.wait(waiting, num_returns=1, timeout=_WAIT_S)[0]
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
        else:
            source = self._joins if reference in self._joins else self._heartbeats
            runner = source.pop(reference)
            if runner not in self._actors:
                return None
            if source is self._heartbeats:
                return self._heard(runner, reference)
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
        return self._answered(runner, tasks, pickle.loads(result))

    def _joined(self, runner: int, answer: tuple[str, str, str, bool]) -> Event:
        *mine, repeats = answer
        if not repeats and self._is_reproducible:
            self._is_reproducible = False
            self._on_event(
                {"event": "not_reproducible", "why": "the environment plays differently each time"}
            )
        if mine[1] != self._numerics and was_pinned_late():
            # Not the runners' fault: they agree with one another, and with processes that begin with distpg.
            self._numerics = mine[1]
            self._on_event(
                {
                    "event": "not_reproducible",
                    "why": "NumPy or torch was imported before distpg, which pins their arithmetic",
                }
            )
        why = self._difference(*mine)
        if why is not None:
            if not self._allow_mixed:
                return self._refuse(runner, why)
            self._on_event({"event": "env_runner_mixed", "env_runner": runner, "why": why})
        self._any_joined = True
        self._on_event({"event": "env_runner_joined", "env_runner": runner})
        return Joined(runner)

    def _refuse(self, runner: int, why: str) -> Died:
        """Do without a runner, and start another, here or on another node."""
        self._last_words = f"refused, since {why}"
        self._on_event(
            {"event": "env_runner_refused", "env_runner": runner, "why": " ".join(why.split())[:300]}
        )
        ray.kill(self._actors.pop(runner))
        return Died(runner)

    def _difference(self, version: str, numerics: str, environment: str) -> str | None:
        """What makes a runner's episodes other than those of this process and the other runners."""
        if version != __version__:
            return f"it has distpg {version}, this process {__version__}"
        if numerics != self._numerics:
            return "its arithmetic differs from this process's: another kind of CPU, or other versions"
        if self._environment is None:
            self._environment = environment
        if self._is_reproducible and environment != self._environment:
            return "its environment plays differently from the first runner's: other versions or data"
        return None

    def _answered(self, runner: int, tasks: tuple[Task, ...], answer: Answer) -> Answered:
        self.sampling_seconds[runner] = self.sampling_seconds.get(runner, 0.0) + answer.seconds
        for task, outcome in zip(tasks, answer.outcomes, strict=True):
            if isinstance(outcome, EpisodeBatch):
                self._latest[task] = outcome
                continue
            self._failures[task] = outcome
            self._on_event(
                {
                    "event": "episode_tried_elsewhere",
                    "episode": outcome.episode,
                    "env_runner": runner,
                    "why": outcome.message,
                }
            )
        self._steps_before[runner] += answer.steps
        return Answered(runner, answer.seconds, answer.steps, answer.digests)

    def _heard(self, runner: int, reference: Any) -> Event | None:
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
        episodes = [task.first_episode for task in tasks]
        self._on_event({"event": "env_runner_died", "env_runner": runner, "first_episodes": episodes})
        return Died(runner)

    def _apply(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self._send(command)
            elif isinstance(command, Accept):
                self._accepted[command.task] = self._latest.pop(command.task)
            elif isinstance(command, Ask):
                self._heartbeats[self._actors[command.runner].heartbeat.remote()] = command.runner
            elif isinstance(command, Start):
                self._start(command.runner)
            elif isinstance(command, Stop):
                self._stop(command)
            elif isinstance(command, Differ):
                self._on_event(answers_differ(command.task, command.runners))
            elif isinstance(command, Search):
                self._on_event({"event": "task_searched", **_episodes(command.task)})
            else:
                raise self._surrender(command)

    def _send(self, command: Send) -> None:
        tasks = pickle.dumps(command.tasks, _PICKLE)
        call = self._actors[command.runner].answer_bytes.remote(tasks, self._weights)
        self._calls[call] = (command.runner, command.tasks)
        if command.why == "hedge":
            episodes = [task.first_episode for task in command.tasks]
            self._on_event(
                {"event": "tasks_hedged", "env_runner": command.runner, "first_episodes": episodes}
            )

    def _start(self, runner: int) -> None:
        self._num_started += 1
        self._steps_before[runner] = 0
        self._actors[runner] = self._actor_class.remote(self._spec)
        self._joins[self._actors[runner].join.remote()] = runner

    def _stop(self, command: Stop) -> None:
        ray.kill(self._actors.pop(command.runner))
        if command.why != "recycled":
            self._last_words = f"it made no step for too long ({command.why})"
        episodes: list[int] = []
        for call, (runner, tasks) in list(self._calls.items()):
            if runner == command.runner:
                # Whatever it still answers comes too late.
                del self._calls[call]
                episodes = [task.first_episode for task in tasks]
        kind = {"silent": "env_runner_silent", "not started": "env_runner_not_started"}.get(
            command.why, "env_runner_recycled"
        )
        self._on_event({"event": kind, "env_runner": command.runner, "first_episodes": episodes})

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


def _episodes(task: Task) -> dict[str, int]:
    return {"first_episode": task.first_episode, "num_episodes": task.num_episodes}


def _cause(error: RayTaskError) -> Exception:
    """What the runner raised, without Ray's copy of its traceback."""
    cause = error.cause
    if isinstance(cause, DistpgError):
        return cause
    line = " ".join(str(cause).split())[:300]
    return EnvRunnersError(f"a runner failed: {type(cause).__name__}: {line}", "--debug shows where.")
