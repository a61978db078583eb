"""What is recorded of episodes, and looked at, wherever their steps are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import EpisodeBatch, actions_digests


@dataclass(frozen=True)
class Summary:
    """E whole episodes in order of their numbers, without their steps.

    Attributes:
        episode_ids: int64[E]; lengths: int32[E]; episode_returns: float64[E]; terminated: bool[E]: as of
            :class:`EpisodeBatch`.
        first_returns: float32[E], the discounted return of each one's first step.
        actions_digests: As of :func:`actions_digest`, of each.
        low, high: Of all numbers of all observations.
        weights_seq_no: How many updates had made the weights that played the episodes.
    """

    episode_ids: NDArray[np.int64]
    lengths: NDArray[np.int32]
    episode_returns: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    first_returns: NDArray[np.float32]
    actions_digests: tuple[str, ...]
    low: float
    high: float
    weights_seq_no: int

    @property
    def num_steps(self) -> int:
        """Of all episodes."""
        return int(self.lengths.sum())

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.lengths)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All arrays."""
        return tuple(value for value in vars(self).values() if isinstance(value, np.ndarray))

    @property
    def texts(self) -> tuple[object, ...]:
        """All the rest."""
        return tuple(value for value in vars(self).values() if not isinstance(value, np.ndarray))


def summary_of(batch: EpisodeBatch) -> Summary:
    """The summary of a batch."""
    return Summary(
        batch.episode_ids,
        batch.lengths,
        batch.episode_returns,
        batch.terminated,
        batch.returns[batch.starts],
        tuple(actions_digests(batch)),
        float(batch.observations.min()),
        float(batch.observations.max()),
        batch.weights_seq_no,
    )


def joined(parts: Sequence[Summary]) -> Summary:
    """One summary of all episodes, in order."""
    if len(parts) == 1:
        return parts[0]
    return Summary(
        np.concatenate([part.episode_ids for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.episode_returns for part in parts]),
        np.concatenate([part.terminated for part in parts]),
        np.concatenate([part.first_returns for part in parts]),
        tuple(digest for part in parts for digest in part.actions_digests),
        float(np.min([part.low for part in parts])),
        float(np.max([part.high for part in parts])),
        parts[0].weights_seq_no,
    )
