"""EnvRunner turns a task and weights into complete episodes with their returns."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distpg.core.episodes import EpisodeBatch, batch_digest, concatenate, episodes_of
from distpg.core.policies import Weights
from distpg.core.tasks import Task
from distpg.errors import EpisodeError
from distpg.kernels.compile_cache import do_without_cache
from distpg.learning.passes import Question, Statistics, Sums
from distpg.sampling.batches import batch_of
from distpg.sampling.new_sampler import new_sampler
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.sampling.sampler import PLAYS
from distpg.sampling.second_pass import SecondPass

Outcome = EpisodeBatch | Statistics | Sums | EpisodeError
"""What comes of a task: its episodes; where they stay, statistics of them, or the sums that a question wants;
or why one of them failed."""


@dataclass(frozen=True)
class Answer:
    """What came of a call, its steps and seconds: each task's outcome, and its digest unless it failed."""

    outcomes: list[Outcome]
    digests: tuple[str | None, ...]
    seconds: float
    steps: int


class EnvRunner:
    """Plays tasks. ``sample`` is a pure function: any runner may do any task, twice if need be."""

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._spec = spec
        if not spec.compile_cache:
            do_without_cache()
        self._sampler = new_sampler(spec)
        self._second, self._answers = None, 0
        if spec.passes is not None:
            has_masks = spec.env.action_mask != "none"
            self._second = SecondPass(spec.policy, spec.passes, has_masks, spec.seed)

    def sample(self, task: Task, weights: Weights) -> EpisodeBatch:
        """The task's episodes with their returns; raises EpisodeError where the environment fails."""
        self.load(weights)
        return self.play(task)

    def load(self, weights: Weights) -> None:
        """Play with these from now on."""
        self._sampler.load(weights)

    def play(self, task: Task) -> EpisodeBatch:
        """As :meth:`sample`, with the weights that were loaded last."""
        first, count = task.first_episode, task.num_episodes
        is_training = task.plays == "training"
        played = self._sampler.sample(first, count, play=PLAYS[task.plays], keeps_steps=is_training)
        return batch_of(task, played, self._spec)

    def play_joined(self, tasks: Sequence[Task]) -> EpisodeBatch:
        """The episodes of several tasks, each as it is played by itself, in one batch."""
        first, last = tasks[0], tasks[-1]
        end = last.first_episode + last.num_episodes
        is_run = sum(task.num_episodes for task in tasks) == end - first.first_episode
        if self._spec.sampler == "compiled" and is_run and first[2:] == last[2:]:  # all side by side
            return self.play(first._replace(num_episodes=end - first.first_episode))
        return concatenate([self.play(task) for task in tasks])

    def answer(self, tasks: Sequence[Task], question: Question | None = None) -> Answer:
        """Do several tasks in one call. An episode that fails fails its own task only.

        Args:
            question: What is asked about their episodes, where the tasks have a question.
        """
        start, steps = time.perf_counter(), self.steps
        outcomes = self.outcomes(tasks, question)
        digests = tuple(map(digest_of, outcomes))
        return Answer(outcomes, digests, time.perf_counter() - start, self.steps - steps)

    def outcomes(self, tasks: Sequence[Task], question: Question | None = None) -> list[Outcome]:
        """As of :meth:`answer`."""
        if question is not None:
            assert self._second is not None
            return [self._attempt(self._asked, task, question) for task in tasks]
        try:
            whole, ends = self.play_joined(tasks), itertools.accumulate(task.num_episodes for task in tasks)
        except EpisodeError:
            return [self._attempt(self._played, task) for task in tasks]
        return [
            self._told(task, episodes_of(whole, end - task.num_episodes, task.num_episodes))
            for task, end in zip(tasks, ends, strict=True)
        ]

    def _attempt(self, do: Callable[..., Outcome], *arguments: Any) -> Outcome:
        try:
            return do(*arguments)
        except EpisodeError as error:
            return error

    def _played(self, task: Task) -> Outcome:
        return self._told(task, self.play(task))

    def _told(self, task: Task, batch: EpisodeBatch) -> Outcome:
        """What the learner wants of episodes."""
        if self._second is None or task.plays != "training":
            return batch
        return self._second.keep(task, batch)

    def _asked(self, task: Task, question: Question) -> Outcome:
        assert self._second is not None
        self._answers += 1
        return self._second.answer(task, question, self.play)

    @property
    def steps(self) -> int:
        """Environment steps and resets so far, and answers; another thread may ask, to see if any come."""
        return self._sampler.steps + self._answers

    def stop(self) -> None:
        """Nobody wants what is being played; another thread may say so. It ends in a StoppedError."""
        self._sampler.is_to_stop = True

    def close(self) -> str | None:
        """Release the environments; what went wrong, if anything did."""
        return self._sampler.close()


def digest_of(outcome: Outcome) -> str | None:
    """Two outcomes of one task must agree in it: first 16 hex digits of SHA-256; None: it failed."""
    if isinstance(outcome, EpisodeError):
        return None
    return batch_digest(outcome) if isinstance(outcome, EpisodeBatch) else outcome.digest
