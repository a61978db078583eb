"""EpisodeBatch: whole episodes as flat arrays, the one thing that travels from runners to the learner."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EpisodeBatch:
    """E whole episodes of N steps in all, one after the other in order of their numbers.

    Attributes:
        observations: float32 or uint8[N, observation size], what the policy saw before each action.
        actions: Smallest unsigned dtype that holds every category, of numbers float32: [N] where an action is
            one category, else [N, parts].
        returns: float32[N], the discounted return that weights each step's log-probability.
        lengths: int32[E], steps of each episode.
        episode_ids: int64[E].
        episode_returns: float64[E], undiscounted sums of rewards.
        terminated: bool[E]; False where the time limit cut the episode.
        weights_seq_no: How many updates had made the weights that played the episodes.
        log_probs: float32[N], log-probability of each action when it was chosen, where asked for.
        rewards: float32[N], where asked for.
        final_observations: As ``observations``, [E, observation size], where asked for.
        action_masks: bool[N, categories], those that were legal, where the environment says so.
    """

    observations: NDArray[np.float32] | NDArray[np.uint8]
    actions: NDArray[Any]
    returns: NDArray[np.float32]
    lengths: NDArray[np.int32]
    episode_ids: NDArray[np.int64]
    episode_returns: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    weights_seq_no: int
    log_probs: NDArray[np.float32] | None = None
    rewards: NDArray[np.float32] | None = None
    final_observations: NDArray[Any] | None = None
    action_masks: NDArray[np.bool_] | None = None

    @property
    def num_steps(self) -> int:
        """N."""
        return len(self.returns)

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """int64[E], the index of each episode's first step."""
        return episode_starts(self.lengths)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays that it has, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


def episode_starts(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Index of each episode's first step in arrays that hold the episodes one after the other, int64[E]."""
    return np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)]).astype(np.int64)


def step_numbers(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each of N steps, its number t within its own episode, int64[N]."""
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(episode_starts(lengths), lengths)


def concatenate(batches: Sequence[EpisodeBatch]) -> EpisodeBatch:
    """One batch of all episodes, in order; raises ValueError where different weights played them."""
    first = batches[0]
    if any(batch.weights_seq_no != first.weights_seq_no for batch in batches):
        raise ValueError("batches played with different weights cannot be joined")
    if len(batches) == 1:
        return first
    parts = [batch.arrays for batch in batches]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return EpisodeBatch(**joined, weights_seq_no=first.weights_seq_no)


def episodes_of(batch: EpisodeBatch, first: int, count: int) -> EpisodeBatch:
    """Episodes of a batch as a batch of their own, without a copy; ``first`` is an index, from 0."""
    episodes, start = slice(first, first + count), int(batch.lengths[:first].sum())
    steps = slice(start, start + int(batch.lengths[episodes].sum()))
    of_episodes = ("lengths", "episode_ids", "episode_returns", "terminated", "final_observations")
    arrays = {
        # A batch of an evaluation has no steps.
        name: array[episodes if name in of_episodes else steps]
        for name, array in batch.arrays.items()
    }
    return EpisodeBatch(**arrays, weights_seq_no=batch.weights_seq_no)


def batch_digest(batch: EpisodeBatch) -> str:
    """First 16 hex digits of SHA-256 over all arrays of a batch: two answers to one task must agree in it."""
    digest = hashlib.sha256()
    for name, array in batch.arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def actions_digests(batch: EpisodeBatch) -> list[str]:
    """:func:`actions_digest` of each episode."""
    data, size = _little_endian(batch.actions), batch.actions[:1].nbytes
    ends = (np.cumsum(batch.lengths, dtype=np.int64) * size).tolist()
    # Of bytes, as to take an episode out of an array costs more than its digest.
    return [_short_digest(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def actions_digest(actions: NDArray[Any]) -> str:
    """First 16 hex digits of SHA-256 over an episode's actions, [T] or [T, parts], as little-endian bytes."""
    return _short_digest(_little_endian(actions))


def _little_endian(actions: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(actions, actions.dtype.newbyteorder("<")).tobytes()


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
