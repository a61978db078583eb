"""EnvRunner turns a task and weights into complete episodes with their returns; a group runs many of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from distpg.config import TrainConfig
from distpg.envs import EnvSpec, env_spec
from distpg.episodes import EpisodeBatch, batch_digest, concatenate
from distpg.errors import EpisodeError
from distpg.policies import PolicySpec, Weights
from distpg.returns import Returns, discounted_returns
from distpg.samplers import Sampler
from distpg.samplers.compile_cache import do_without_cache
from distpg.samplers.gymnasium_sampler import GymnasiumSampler
from distpg.seeding import Stream, words


class Task(NamedTuple):
    """A fixed run of consecutive episodes, played with the weights after update ``weights_seq_no``."""

    first_episode: int
    num_episodes: int
    weights_seq_no: int


def tasks_of_iteration(
    iteration: int, episodes_per_iteration: int, episodes_per_task: int, weights_seq_no: int
) -> list[Task]:
    """The tasks of iteration i (from 0), which plays episodes i * E to (i + 1) * E - 1."""
    start, end = iteration * episodes_per_iteration, (iteration + 1) * episodes_per_iteration
    return [
        Task(first, min(episodes_per_task, end - first), weights_seq_no)
        for first in range(start, end, episodes_per_task)
    ]


def plan(config: TrainConfig, iteration: int) -> list[Task]:
    """The tasks of iteration i (from 0), from the resolved configuration alone.

    With a policy lag of k they are played with the weights after i - k updates, the first k iterations with
    the initial ones: a number, and no race between runners and learner (HTS-RL, Liu et al. 2020,
    arXiv:2012.09849; Cleanba, Huang et al. 2023, arXiv:2310.00036).
    """
    return tasks_of_iteration(
        iteration,
        config.episodes_per_iteration,
        int(config.episodes_per_task),
        max(0, iteration - config.policy_lag),
    )


@dataclass(frozen=True)
class EnvRunnerSpec:
    """Everything a runner is made from; small and plain, so that it can be sent to another process."""

    env: EnvSpec
    policy: PolicySpec
    seed: int
    gamma: float
    returns: Returns
    env_reuse: str = "always"
    log_probs: bool = False
    """Whether batches hold the log-probabilities of their actions, which only a lagged loss needs."""
    compile_cache: bool = True


def env_runner_spec(config: TrainConfig, policy: PolicySpec) -> EnvRunnerSpec:
    """The part of a configuration that decides what an episode is."""
    return EnvRunnerSpec(
        env_spec(config),
        policy,
        config.seed,
        config.gamma,
        config.returns,
        config.env_reuse,
        log_probs=config.policy_lag > 0,
        compile_cache=config.compile_cache,
    )


@dataclass(frozen=True)
class Answer:
    """What came of a call: for each task its batch, or why an episode of it failed.

    Attributes:
        digests: Of each batch; None where an episode failed.
        steps: Environment steps of the whole call, and seconds that it took.
    """

    outcomes: list[EpisodeBatch | EpisodeError]
    digests: tuple[str | None, ...]
    seconds: float
    steps: int


def audited(tasks: Sequence[Task], seed: int, audit_every: int) -> set[Task]:
    """Those that are played twice and compared: one in ``audit_every``, by a random word of its own."""
    if audit_every == 0 or not tasks:
        return set()
    random = words(seed, Stream.AUDIT, [task.first_episode for task in tasks], 0, 1)[:, 0]
    return {task for task, word in zip(tasks, random.tolist(), strict=True) if word % audit_every == 0}


class EnvRunner:
    """Plays tasks. ``sample`` is a pure function: any runner may do any task, twice if need be."""

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._spec = spec
        if not spec.compile_cache:
            do_without_cache()
        self._sampler: Sampler = GymnasiumSampler(
            spec.env, spec.policy, spec.seed, env_reuse=spec.env_reuse, log_probs=spec.log_probs
        )

    def sample(self, task: Task, weights: Weights) -> EpisodeBatch:
        """Play the task's episodes to their ends and compute their discounted returns.

        Raises:
            EpisodeError: The environment failed.
        """
        played = self._sampler.sample(task.first_episode, task.num_episodes, weights)
        returns = discounted_returns(played.rewards, played.lengths, self._spec.gamma, self._spec.returns)
        with np.errstate(over="ignore"):
            returns32 = returns.astype(np.float32)
        if not np.isfinite(returns32).all():
            episode = task.first_episode + int(
                np.repeat(np.arange(task.num_episodes), played.lengths)[~np.isfinite(returns32)][0]
            )
            raise EpisodeError(
                f"{self._spec.env.env_id} gave rewards in episode {episode} too large for float32",
                "Scale the rewards down.",
                episode,
            )
        last = task.first_episode + task.num_episodes
        return EpisodeBatch(
            observations=played.observations,
            actions=played.actions,
            returns=returns32,
            lengths=played.lengths,
            episode_ids=np.arange(task.first_episode, last, dtype=np.int64),
            episode_returns=played.episode_returns,
            terminated=played.terminated,
            weights_seq_no=task.weights_seq_no,
            log_probs=played.log_probs,
        )

    def answer(self, tasks: Sequence[Task], weights: Weights) -> Answer:
        """Play several tasks in one call. An episode that fails fails its own task only."""
        start, steps = time.perf_counter(), self.steps
        outcomes: list[EpisodeBatch | EpisodeError] = []
        for task in tasks:
            try:
                outcomes.append(self.sample(task, weights))
            except EpisodeError as error:
                outcomes.append(error)
        digests = tuple(batch_digest(o) if isinstance(o, EpisodeBatch) else None for o in outcomes)
        return Answer(outcomes, digests, time.perf_counter() - start, self.steps - steps)

    @property
    def steps(self) -> int:
        """Environment steps and resets so far; another thread may ask, to see whether any are made."""
        return self._sampler.steps

    def close(self) -> None:
        """Release the environments."""
        self._sampler.close()


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
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
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


def answers_differ(task: Task, runners: Sequence[int]) -> dict[str, Any]:
    """The event of a task whose two answers are not the same."""
    last = task.first_episode + task.num_episodes - 1
    episodes = f"episode {last}" if task.num_episodes == 1 else f"episodes {task.first_episode} to {last}"
    return {
        "event": "answers_differ",
        "first_episode": task.first_episode,
        "env_runners": list(runners),
        "why": f"{episodes} played twice gave two results",
    }
