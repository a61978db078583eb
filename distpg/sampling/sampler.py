"""Samplers play the episodes of a task; each is a pure function of (seed, weights, episode numbers)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts
from distpg.core.seeding import Stream


@dataclass(frozen=True)
class Trajectories:
    """Whole episodes as played, one after the other: N steps in E episodes.

    Attributes:
        observations: float32[N, ...], what the policy saw before each action.
        actions: Smallest unsigned dtype that holds every action, [N].
        rewards: float64[N].
        lengths: int32[E].
        terminated: bool[E].
        log_probs: float32[N], log-probability of each action when it was chosen, where asked for.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.unsignedinteger]
    rewards: NDArray[np.float64]
    lengths: NDArray[np.int32]
    terminated: NDArray[np.bool_]
    log_probs: NDArray[np.float32] | None = None

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """Undiscounted sum of each episode's rewards, float64[E]."""
        sums: NDArray[np.float64] = np.add.reduceat(self.rewards, episode_starts(self.lengths))
        return sums


@dataclass(frozen=True)
class Play:
    """How episodes are played: their random numbers, and whether each action is the most probable one."""

    seed_stream: Stream
    action_stream: Stream
    greedy: bool = False


TRAINING = Play(Stream.ENVIRONMENT_SEED, Stream.ACTION)
