"""Runners that share tasks: what every group of them offers, and the group of none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from typing_extensions import override

from distpg.core.episodes import EpisodeBatch, batch_digest, concatenate, episodes_of
from distpg.core.events import Advice, AnswersDiffer, OnEvent
from distpg.core.policies import Weights
from distpg.core.tasks import Task, audited
from distpg.errors import EpisodeError
from distpg.learning.passes import Question
from distpg.sampling.env_runner import EnvRunner, digest_of
from distpg.sampling.runner_spec import EnvRunnerSpec


@dataclass(frozen=True, eq=False)
class Ticket:
    """Tasks that a group has taken on; given back to it once, for what came of them."""

    tasks: tuple[Task, ...]


class Gathered(NamedTuple):
    """What came of a ticket's tasks, in their order, and which runner it came from: None: of this process."""

    outcomes: list[Any]
    runners: tuple[int | None, ...]


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

    def add(
        self,
        tasks: Sequence[Task],
        weights: Weights,
        question: Question | None = None,
        runners: Sequence[int | None] = (),
    ) -> Ticket:
        """Take on the tasks of an iteration, after those of earlier ones; all are played with ``weights``.

        Args:
            question: What is asked about their episodes, where that is the tasks' question.
            runners: Which one has the episodes of each task; another one would have to play them again.
        """
        ...

    def gather(self, ticket: Ticket) -> Gathered:
        """What came of the ticket's tasks, each counted exactly once.

        Raises:
            EpisodeError: An environment failed.
            EnvRunnersError: No runner is left.
        """
        ...

    def collect(self, ticket: Ticket) -> EpisodeBatch:
        """The ticket's episodes in one batch; raises as :meth:`gather`."""
        batches: list[EpisodeBatch] = self.gather(ticket).outcomes
        return concatenate(batches)

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
        self._added: dict[Ticket, tuple[Weights, Question | None]] = {}
        self.times = CollectTimes()

    @override
    def add(
        self,
        tasks: Sequence[Task],
        weights: Weights,
        question: Question | None = None,
        runners: Sequence[int | None] = (),
    ) -> Ticket:
        ticket = Ticket(tuple(tasks))
        self._added[ticket] = weights, question
        return ticket

    @override
    def collect(self, ticket: Ticket) -> EpisodeBatch:
        (outcome,) = self._timed(ticket, self._joined)
        batch: EpisodeBatch = outcome
        return batch

    @override
    def gather(self, ticket: Ticket) -> Gathered:
        return Gathered(self._timed(ticket, self._outcomes), (None,) * len(ticket.tasks))

    def _timed(self, ticket: Ticket, do: Callable[[Sequence[Task], Question | None], list[Any]]) -> list[Any]:
        start = time.perf_counter()
        weights, question = self._added.pop(ticket)
        self._runner.load(weights)
        found = do(ticket.tasks, question)
        self.times.add_sampling(0, time.perf_counter() - start)
        return found

    def _joined(self, tasks: Sequence[Task], question: Question | None) -> list[EpisodeBatch]:
        batch, index = self._runner.play_joined(tasks), 0
        twice = audited(tasks, self._seed, self._audit_every)
        for task in tasks:
            before = episodes_of(batch, index, task.num_episodes)
            if task in twice and batch_digest(self._runner.play(task)) != batch_digest(before):
                self._on_event(answers_differ(task, (0, 0)))
            index += task.num_episodes
        return [batch]

    def _outcomes(self, tasks: Sequence[Task], question: Question | None) -> list[Any]:
        found = self._runner.outcomes(tasks, question)
        twice = audited(tasks, self._seed, self._audit_every)
        for task, outcome in zip(tasks, found, strict=True):
            if isinstance(outcome, EpisodeError):
                raise outcome
            if task in twice and digest_of(self._runner.outcomes([task], question)[0]) != digest_of(outcome):
                self._on_event(answers_differ(task, (0, 0)))
        return found

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
