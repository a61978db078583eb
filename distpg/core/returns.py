"""Discounted returns of whole episodes, computed where the episodes were played."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts

Returns = Literal["to-go", "total"]


def discounted_returns(
    rewards: NDArray[np.float64], lengths: NDArray[np.int32], gamma: float, kind: Returns
) -> NDArray[np.float64]:
    """The return that weights each step's log-probability (article, REINFORCE).

    ``to-go``: G_t = r_t + gamma * G_{t+1}, from the episode's last step backwards, so that an action is
    credited only with what came after it. ``total``: the episode's whole return G_0 at every step.

    From rewards float64[N], episodes one after the other, and lengths int32[E], at least 1: float64[N].
    """
    to_go = np.empty(len(rewards), np.float64)
    starts = episode_starts(lengths)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        # Python floats: three times faster one by one than NumPy's scalars, and the same IEEE doubles.
        following = 0.0
        backwards = []
        for reward in rewards[start : start + length][::-1].tolist():
            following = reward + gamma * following
            backwards.append(following)
        to_go[start : start + length] = backwards[::-1]
    if kind == "total":
        return np.repeat(to_go[starts], lengths)
    return to_go
