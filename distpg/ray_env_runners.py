"""The adapter between the dispatcher and Ray actors."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import ray

from distpg import env_runners
from distpg.dispatch import Answered, Command, Died, Dispatcher, Event, Joined, Send
from distpg.env_runners import EnvRunnerSpec, Task
from distpg.episodes import EpisodeBatch, concatenate
from distpg.errors import DistpgError, EnvRunnersError
from distpg.policies import Weights

# An argument of a call below this size travels in the call itself, in half the time of a trip through the
# object store; a larger one is stored once and fetched by each node.
_INLINE_BYTES = 64 * 1024
_PICKLE = pickle.HIGHEST_PROTOCOL
_NOTHING = pickle.dumps((), _PICKLE)
# Ray's waits are cut into pieces so that a signal is acted on soon.
_WAIT_S = 0.2


class EnvRunner(env_runners.EnvRunner):
    """The actor; named so that `ps` shows ray::EnvRunner.

    Calls and answers travel as bytes, since Ray's own serialisation takes several times as long for a handful
    of small arrays, and would serialise the weights again for every runner.
    """

    def answer(self, tasks: bytes, weights: bytes) -> bytes:
        """:meth:`sample_all`, pickled on both ways between processes of one run."""
        return pickle.dumps(self.sample_all(pickle.loads(tasks), pickle.loads(weights)), _PICKLE)


class RayEnvRunnerGroup:
    """EnvRunners as Ray actors, each with at most one call in flight."""

    def __init__(
        self,
        spec: EnvRunnerSpec,
        num_env_runners: int,
        num_cpus_per_env_runner: float,
        on_event: Callable[[dict[str, Any]], None],
    ) -> None:
        self._spec = spec
        # Ray's own restarts and retries take seconds, and would hide a death from the dispatcher.
        remote = ray.remote(num_cpus=num_cpus_per_env_runner, max_restarts=0, max_task_retries=0)
        self._actor_class = remote(EnvRunner)
        self._on_event = on_event
        self._dispatcher = Dispatcher()
        self._new_ids = itertools.count()
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, tuple[int, tuple[Task, ...]]] = {}
        self._num_restarts = 0
        self.sampling_seconds: dict[int, float] = {}
        """Seconds each runner spent sampling in the latest collect."""
        for _ in range(num_env_runners):
            self._start_runner()

    @property
    def num_healthy(self) -> int:
        """Runners that have joined and not died."""
        return len(self._dispatcher.runners)

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        return self._num_restarts

    def wait_for(self, num_env_runners: int) -> None:
        """Wait until this many runners are ready.

        Raises:
            EnvRunnersError: A runner died before it was ready.
        """
        while self.num_healthy < num_env_runners:
            self._handle_finished_calls(_NOTHING, {})

    def collect(self, tasks: Sequence[Task], weights: Weights) -> EpisodeBatch:
        """As :class:`distpg.env_runners.EnvRunnerGroup`."""
        encoded = pickle.dumps(weights, _PICKLE)
        argument = ray.put(encoded) if len(encoded) > _INLINE_BYTES else encoded
        answers: dict[Task, EpisodeBatch] = {}
        self.sampling_seconds = dict.fromkeys(self._actors, 0.0)
        self._apply(self._dispatcher.add(tasks), argument)
        while not self._dispatcher.done:
            self._handle_finished_calls(argument, answers)
        return concatenate([answers[task] for task in tasks])

    def close(self) -> None:
        """End the runners; work in flight is lost."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._calls.clear()

    def _start_runner(self) -> None:
        runner = next(self._new_ids)
        actor = self._actor_class.remote(self._spec)
        self._actors[runner] = actor
        self._calls[actor.answer.remote(_NOTHING, _NOTHING)] = (runner, ())

    def _handle_finished_calls(self, weights: Any, answers: dict[Task, EpisodeBatch]) -> None:
        calls = list(self._calls)
        finished, _ = ray.wait(calls, num_returns=1, timeout=_WAIT_S)
        for call in finished:
            runner, tasks = self._calls.pop(call)
            self._apply(self._dispatcher.handle(self._event_of(call, runner, tasks, answers)), weights)

    def _event_of(
        self, call: Any, runner: int, tasks: tuple[Task, ...], answers: dict[Task, EpisodeBatch]
    ) -> Event:
        try:
            result = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from error
        except ray.exceptions.RayActorError as error:
            return self._death(runner, tasks, error)
        if not tasks:
            self._on_event({"event": "env_runner_joined", "env_runner": runner})
            return Joined(runner)
        batches, seconds = pickle.loads(result)
        self.sampling_seconds[runner] = self.sampling_seconds.get(runner, 0.0) + seconds
        answers.update(zip(tasks, batches, strict=True))
        return Answered(runner, seconds)

    def _death(self, runner: int, tasks: tuple[Task, ...], error: Exception) -> Died:
        del self._actors[runner]
        if runner not in self._dispatcher.runners:
            line = " ".join(str(error).split())[:300]
            raise EnvRunnersError(
                f"a runner died before it was ready: {line}", "Its log is in Ray's session directory."
            ) from error
        episodes = [task.first_episode for task in tasks]
        self._on_event({"event": "env_runner_died", "env_runner": runner, "first_episodes": episodes})
        return Died(runner)

    def _apply(self, commands: Sequence[Command], weights: Any) -> None:
        for command in commands:
            if isinstance(command, Send):
                tasks = pickle.dumps(command.tasks, _PICKLE)
                call = self._actors[command.runner].answer.remote(tasks, weights)
                self._calls[call] = (command.runner, command.tasks)
            else:
                self._num_restarts += 1
                self._start_runner()


def _cause(error: ray.exceptions.RayTaskError) -> Exception:
    """What the runner raised, without Ray's copy of its traceback."""
    cause = error.cause
    if isinstance(cause, DistpgError):
        return cause
    line = " ".join(str(cause).split())[:300]
    return EnvRunnersError(f"a runner failed: {type(cause).__name__}: {line}", "--debug shows where.")
