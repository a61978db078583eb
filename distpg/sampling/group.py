"""Runners that share tasks: what every group of them offers, and the group of none."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from typing_extensions import override

from distpg.core.episodes import EpisodeBatch, batch_digest, episodes_of
from distpg.core.events import Advice, AnswersDiffer, OnEvent
from distpg.core.policies import Weights
from distpg.core.tasks import Task, audited
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.runner_spec import EnvRunnerSpec


@dataclass(frozen=True, eq=False)
class Ticket:
    """Tasks that a group has taken on; given back to it once, for their episodes."""

    tasks: tuple[Task, ...]


@dataclass
class CollectTimes:
    """Seconds since a group was made: to make weights ready here, and each runner's to play."""

    broadcast_s: float = 0.0
    sampling_s: dict[int, float] = field(default_factory=dict)

    def add_sampling(self, runner: int, seconds: float) -> None:
        """A runner played for so long."""
        self.sampling_s[runner] = self.sampling_s.get(runner, 0.0) + seconds


class EnvRunnerGroup(Protocol):
    """Runners that share tasks."""

    times: CollectTimes
    """What took how long so far."""

    @property
    def num_healthy(self) -> int:
        """Runners that can take a task now; 0 where this process plays itself."""
        ...

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        ...

    def add(self, tasks: Sequence[Task], weights: Weights) -> Ticket:
        """Take on the tasks of an iteration, after those of earlier ones; all are played with ``weights``."""
        ...

    def collect(self, ticket: Ticket) -> EpisodeBatch:
        """The ticket's episodes, each played exactly once, in the order of its tasks.

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


class InProcessEnvRunnerGroup(EnvRunnerGroup):
    """The group of zero runners: this process plays a ticket's tasks, one after the other, when collected."""

    num_healthy = 0
    num_restarts = 0

    def __init__(
        self, spec: EnvRunnerSpec, audit_every: int = 0, on_event: OnEvent = lambda event: None
    ) -> None:
        self._runner = EnvRunner(spec)
        self._seed = spec.seed
        self._audit_every = audit_every
        self._on_event = on_event
        self._weights: dict[Ticket, Weights] = {}
        self.times = CollectTimes()

    @override
    def add(self, tasks: Sequence[Task], weights: Weights) -> Ticket:
        ticket = Ticket(tuple(tasks))
        self._weights[ticket] = weights
        return ticket

    @override
    def collect(self, ticket: Ticket) -> EpisodeBatch:
        start = time.perf_counter()
        self._runner.load(self._weights.pop(ticket))
        batch = self._runner.play_joined(ticket.tasks)
        twice, index = audited(ticket.tasks, self._seed, self._audit_every), 0
        for task in ticket.tasks:
            before = episodes_of(batch, index, task.num_episodes)
            if task in twice and batch_digest(self._runner.play(task)) != batch_digest(before):
                self._on_event(answers_differ(task, (0, 0)))
            index += task.num_episodes
        self.times.add_sampling(0, time.perf_counter() - start)
        return batch

    @override
    def publish(self, metrics: Mapping[str, Any]) -> None:
        pass

    @override
    def close(self) -> None:
        if (complaint := self._runner.close()) is not None:
            self._on_event(not_closed(complaint))


def not_closed(complaint: str) -> Advice:
    """The event of an environment whose ``close`` failed."""
    return Advice(complaint, "What was played counts all the same; see its close().")


def answers_differ(task: Task, runners: tuple[int, int]) -> AnswersDiffer:
    """The event of a task whose two answers are not the same."""
    last = task.first_episode + task.num_episodes - 1
    episodes = f"episode {last}" if task.num_episodes == 1 else f"episodes {task.first_episode} to {last}"
    return AnswersDiffer(task.first_episode, runners, f"{episodes} played twice gave two results")
