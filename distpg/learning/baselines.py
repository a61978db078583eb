"""Baselines b subtracted from the returns (article, REINFORCE with baseline).

A baseline that does not depend on the step's own action leaves the gradient's expectation as it is and can
shrink its variance. Those marked leave-one-out use the other episodes of the batch only, so they qualify;
without another episode they are 0. The learnt baseline is :mod:`distpg.learning.value_function`.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts, step_numbers

Baseline = Literal["none", "episode", "batch", "timestep"]


def baseline_values(
    kind: Baseline, returns: NDArray[np.float32], lengths: NDArray[np.int32]
) -> NDArray[np.float64]:
    """B for each step of a batch.

    ``none``: 0. ``episode``: the mean of the episode's own returns, the article's baseline; it depends on the
    episode's own actions, so it biases the gradient. ``batch``: the leave-one-out mean of the returns at all
    steps of the other episodes. ``timestep``: that of the other episodes' returns at the same t, where an
    episode that has ended counts 0. From returns float32[N] and lengths int32[E]: float64[N].
    """
    values, num_others = returns.astype(np.float64), len(lengths) - 1
    if kind == "none" or (kind != "episode" and num_others == 0):
        return np.zeros_like(values)
    if kind == "timestep":
        t = step_numbers(lengths)
        others: NDArray[np.float64] = np.bincount(t, weights=values)[t] - values
        return others / num_others
    sums = np.add.reduceat(values, episode_starts(lengths))
    means = sums / lengths if kind == "episode" else (sums.sum() - sums) / (lengths.sum() - lengths)
    return np.repeat(means, lengths)
