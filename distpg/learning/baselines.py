"""Baselines b subtracted from the returns (article, REINFORCE with baseline).

A baseline that does not depend on the step's own action leaves the gradient's expectation as it is and can
shrink its variance. Those marked leave-one-out use the other episodes of the batch only, so they qualify;
without another episode they are 0. The learnt baseline is :mod:`distpg.learning.value_function`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts, step_numbers

Baseline = Literal["none", "episode", "batch", "timestep"]


def baseline_values(
    kind: Baseline, returns: NDArray[np.float32], lengths: NDArray[np.int32]
) -> NDArray[np.float64]:
    """B for each step of a batch.

    Args:
        returns: float32[N].
        lengths: int32[E], summing to N.

    Returns:
        float64[N].
    """
    values = returns.astype(np.float64)
    if kind == "episode":
        return _episode_mean(values, lengths)
    if kind == "batch":
        return _other_episodes(values, lengths)
    if kind == "timestep":
        return _other_episodes_at_same_step(values, lengths)
    return np.zeros_like(values)


def _episode_mean(returns: NDArray[np.float64], lengths: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean of the episode's own returns: the article's baseline.

    It depends on the episode's own actions, so it biases the gradient.
    """
    means = np.add.reduceat(returns, episode_starts(lengths)) / lengths
    return np.repeat(means, lengths)


def _other_episodes(returns: NDArray[np.float64], lengths: NDArray[np.int32]) -> NDArray[np.float64]:
    """Leave-one-out mean of the returns at all steps of the other episodes."""
    if len(lengths) == 1:
        return np.zeros_like(returns)
    sums = np.add.reduceat(returns, episode_starts(lengths))
    means = (sums.sum() - sums) / (lengths.sum() - lengths)
    return np.repeat(means, lengths)


def _other_episodes_at_same_step(
    returns: NDArray[np.float64], lengths: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Leave-one-out mean of the other episodes' returns at the same t; an ended episode counts 0."""
    if len(lengths) == 1:
        return np.zeros_like(returns)
    t = step_numbers(lengths)
    others: NDArray[np.float64] = np.bincount(t, weights=returns)[t] - returns
    others /= len(lengths) - 1
    return others
