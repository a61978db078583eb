"""Samplers play the episodes of a task; each is a pure function of (seed, weights, episode numbers)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distpg.policies import Weights


@dataclass(frozen=True)
class Trajectories:
    """Whole episodes as played, one after the other: N steps in E episodes.

    Attributes:
        observations: float32[N, ...], what the policy saw before each action.
        actions: Smallest unsigned dtype that holds every action, [N].
        rewards: float64[N].
        lengths: int32[E].
        terminated: bool[E].
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.unsignedinteger]
    rewards: NDArray[np.float64]
    lengths: NDArray[np.int32]
    terminated: NDArray[np.bool_]


class Sampler(Protocol):
    """Plays complete episodes with a policy."""

    def sample(self, first_episode: int, num_episodes: int, weights: Weights) -> Trajectories:
        """Play episodes ``first_episode`` to ``first_episode + num_episodes - 1`` to their ends.

        Raises:
            EpisodeError: The environment failed in one of them.
        """
        ...

    def close(self) -> None:
        """Release the environments."""
        ...
