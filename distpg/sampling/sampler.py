"""Samplers play the episodes of a task; each is a pure function of (seed, weights, episode numbers)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts
from distpg.core.seeding import Stream


@dataclass(frozen=True)
class Trajectories:
    """Whole episodes as played, one after the other: N steps in E episodes.

    Attributes:
        observations: float32 or uint8[N, observation size], what the policy saw before each action.
        actions: Smallest unsigned dtype that holds every category, of numbers float32: [N] where an action is
            one category, else [N, parts].
        rewards: float64[N].
        lengths: int32[E].
        terminated: bool[E].
        log_probs: float32[N], log-probability of each action when it was chosen, where asked for.
        final_observations: As ``observations``, what came after each episode's last action, [E, observation
            size].
        action_masks: bool[N, categories], those that were legal, where the environment says so.
        returns, sums: float32[N] and float64[E], discounted and undiscounted, where the sampler has them
            itself; then there may be no rewards.
    """

    observations: NDArray[np.float32] | NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    lengths: NDArray[np.int32]
    terminated: NDArray[np.bool_]
    final_observations: NDArray[Any]
    log_probs: NDArray[np.float32] | None = None
    action_masks: NDArray[np.bool_] | None = None
    returns: NDArray[np.float32] | None = None
    sums: NDArray[np.float64] | None = None

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """Undiscounted sum of each episode's rewards, float64[E]."""
        if self.sums is not None:
            return self.sums
        sums: NDArray[np.float64] = np.add.reduceat(self.rewards, episode_starts(self.lengths))
        return sums


def joined(parts: Sequence[Trajectories]) -> Trajectories:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(Trajectories)):
        arrays = [getattr(part, name) for part in parts]
        columns[name] = None if arrays[0] is None else np.concatenate(arrays)
    return Trajectories(**columns)


@dataclass(frozen=True)
class Play:
    """How episodes are played: their random numbers, and whether each action is the most probable one."""

    seed_stream: Stream
    action_stream: Stream
    globals_stream: Stream
    greedy: bool = False


TRAINING = Play(Stream.ENVIRONMENT_SEED, Stream.ACTION, Stream.GLOBALS)
_EVALUATION = (Stream.EVALUATION_SEED, Stream.EVALUATION_ACTION, Stream.EVALUATION_GLOBALS)
# By :attr:`Task.plays`.
PLAYS = {
    "training": TRAINING,
    "periodic": Play(Stream.PERIODIC_SEED, Stream.PERIODIC_ACTION, Stream.PERIODIC_GLOBALS, greedy=True),
    "greedy": Play(*_EVALUATION, greedy=True),
    "sampled": Play(*_EVALUATION),
}
