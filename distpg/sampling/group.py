"""Runners that share tasks: what every group of them offers, and the group of none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from distpg.core.episodes import EpisodeBatch, batch_digest, concatenate
from distpg.core.events import AnswersDiffer, OnEvent
from distpg.core.policies import Weights
from distpg.core.tasks import Task, audited
from distpg.sampling.env_runner import EnvRunner, EnvRunnerSpec


@dataclass
class CollectTimes:
    """Seconds, added up since a group was made.

    Attributes:
        broadcast_s: This process's, to make weights ready for the runners.
        sampling_s: Each runner's, to play its tasks.
    """

    broadcast_s: float = 0.0
    sampling_s: dict[int, float] = field(default_factory=dict)

    def add_sampling(self, runner: int, seconds: float) -> None:
        """A runner played for so long."""
        self.sampling_s[runner] = self.sampling_s.get(runner, 0.0) + seconds


class EnvRunnerGroup(Protocol):
    """Runners that share tasks."""

    @property
    def num_healthy(self) -> int:
        """Runners that can take a task now."""
        ...

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        ...

    @property
    def times(self) -> CollectTimes:
        """What took how long so far."""
        ...

    def add(self, tasks: Sequence[Task], weights: Weights) -> None:
        """Take on the tasks of an iteration, after those of earlier ones; all are played with ``weights``."""
        ...

    def collect(self, tasks: Sequence[Task]) -> EpisodeBatch:
        """The episodes of tasks added before, each played exactly once, in the order of the tasks.

        To be called with each iteration's tasks, in the order in which they were added.

        Raises:
            EpisodeError: An environment failed.
            EnvRunnersError: No runner is left.
        """
        ...

    def publish(self, metrics: Mapping[str, Any]) -> None:
        """Tell whoever watches the runners' machines of an iteration."""
        ...

    def close(self) -> None:
        """End the runners; what they play is lost."""
        ...


class InProcessEnvRunnerGroup:
    """The group of zero runners: this process plays every task itself, one after the other."""

    def __init__(
        self,
        spec: EnvRunnerSpec,
        audit_every: int = 0,
        on_event: OnEvent = lambda event: None,
    ) -> None:
        self._runner = EnvRunner(spec)
        self._seed = spec.seed
        self._audit_every = audit_every
        self._on_event = on_event
        self._weights: dict[Task, Weights] = {}
        self.times = CollectTimes()

    @property
    def num_healthy(self) -> int:
        """0: there are no runners beside this process."""
        return 0

    @property
    def num_restarts(self) -> int:
        """0."""
        return 0

    def add(self, tasks: Sequence[Task], weights: Weights) -> None:
        """As :class:`EnvRunnerGroup`; nothing is played before it is collected."""
        self._weights.update(dict.fromkeys(tasks, weights))

    def collect(self, tasks: Sequence[Task]) -> EpisodeBatch:
        """As :class:`EnvRunnerGroup`."""
        start = time.perf_counter()
        twice = audited(tasks, self._seed, self._audit_every)
        batches = [self._play(task, self._weights.pop(task), task in twice) for task in tasks]
        self.times.add_sampling(0, time.perf_counter() - start)
        return concatenate(batches)

    def publish(self, metrics: Mapping[str, Any]) -> None:
        """As :class:`EnvRunnerGroup`; nobody watches."""

    def _play(self, task: Task, weights: Weights, twice: bool) -> EpisodeBatch:
        batch = self._runner.sample(task, weights)
        if twice:
            again = self._runner.sample(task, weights)
            if batch_digest(again) != batch_digest(batch):
                self._on_event(answers_differ(task, [0, 0]))
        return batch

    def close(self) -> None:
        """As :class:`EnvRunnerGroup`."""
        self._runner.close()


def answers_differ(task: Task, runners: Sequence[int]) -> AnswersDiffer:
    """The event of a task whose two answers are not the same."""
    last = task.first_episode + task.num_episodes - 1
    episodes = f"episode {last}" if task.num_episodes == 1 else f"episodes {task.first_episode} to {last}"
    return AnswersDiffer(task.first_episode, tuple(runners), f"{episodes} played twice gave two results")
