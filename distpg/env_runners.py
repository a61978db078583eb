"""EnvRunner turns a task and weights into complete episodes with their returns; a group runs many of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distpg.config import TrainConfig
from distpg.envs import EnvSpec, env_spec
from distpg.episodes import EpisodeBatch, concatenate
from distpg.policies import PolicySpec, Weights
from distpg.returns import Returns, discounted_returns
from distpg.samplers import Sampler
from distpg.samplers.gymnasium_sampler import GymnasiumSampler


@dataclass(frozen=True)
class Task:
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


@dataclass(frozen=True)
class EnvRunnerSpec:
    """Everything a runner is made from; small and plain, so that it can be sent to another process."""

    env: EnvSpec
    policy: PolicySpec
    seed: int
    gamma: float
    returns: Returns


def env_runner_spec(config: TrainConfig, policy: PolicySpec) -> EnvRunnerSpec:
    """The part of a configuration that decides what an episode is."""
    return EnvRunnerSpec(env_spec(config), policy, config.seed, config.gamma, config.returns)


class EnvRunner:
    """Plays tasks. ``sample`` is a pure function: any runner may do any task, twice if need be."""

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._spec = spec
        self._sampler: Sampler = GymnasiumSampler(spec.env, spec.policy, spec.seed)

    def sample(self, task: Task, weights: Weights) -> EpisodeBatch:
        """Play the task's episodes to their ends and compute their discounted returns.

        Raises:
            EpisodeError: The environment failed.
        """
        played = self._sampler.sample(task.first_episode, task.num_episodes, weights)
        returns = discounted_returns(played.rewards, played.lengths, self._spec.gamma, self._spec.returns)
        last = task.first_episode + task.num_episodes
        return EpisodeBatch(
            observations=played.observations,
            actions=played.actions,
            returns=returns.astype(np.float32),
            lengths=played.lengths,
            episode_ids=np.arange(task.first_episode, last, dtype=np.int64),
            episode_returns=played.episode_returns,
            terminated=played.terminated,
            weights_seq_no=task.weights_seq_no,
        )

    def sample_all(self, tasks: Sequence[Task], weights: Weights) -> tuple[list[EpisodeBatch], float]:
        """Play several tasks in one call; also the seconds that took. No tasks: a sign of life."""
        start = time.perf_counter()
        batches = [self.sample(task, weights) for task in tasks]
        return batches, time.perf_counter() - start

    def close(self) -> None:
        """Release the environments."""
        self._sampler.close()


class EnvRunnerGroup(Protocol):
    """Runners that share the tasks of an iteration."""

    @property
    def num_healthy(self) -> int:
        """Runners that can take a task now."""
        ...

    @property
    def num_restarts(self) -> int:
        """Runners replaced since the start."""
        ...

    def collect(self, tasks: Sequence[Task], weights: Weights) -> EpisodeBatch:
        """Play every task exactly once; the batch holds the episodes in the order of the tasks.

        Raises:
            EpisodeError: An environment failed.
            EnvRunnersError: No runner is left.
        """
        ...

    def close(self) -> None:
        """End the runners."""
        ...


class InProcessEnvRunnerGroup:
    """The group of zero runners: this process plays every task itself, one after the other."""

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._runner = EnvRunner(spec)

    @property
    def num_healthy(self) -> int:
        """0: there are no runners beside this process."""
        return 0

    @property
    def num_restarts(self) -> int:
        """0."""
        return 0

    def collect(self, tasks: Sequence[Task], weights: Weights) -> EpisodeBatch:
        """As :class:`EnvRunnerGroup`."""
        return concatenate([self._runner.sample(task, weights) for task in tasks])

    def close(self) -> None:
        """As :class:`EnvRunnerGroup`."""
        self._runner.close()
