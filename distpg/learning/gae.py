"""Generalised advantage estimation: between a value function's word for what follows, and what followed."""

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts


def generalised_advantages(
    rewards: NDArray[np.float32],
    values: NDArray[np.float64],
    final_values: NDArray[np.float64],
    lengths: NDArray[np.int32],
    gamma: float,
    lam: float,
) -> NDArray[np.float64]:
    """A_t = sum over k of (gamma lambda)^k delta_{t+k}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t).

    Source: Schulman et al., "High-dimensional continuous control using generalized advantage estimation"
    (2016), equation 16. With lambda 1 it is the return minus V(s_t), to which V
    of the last observation is added where an episode was cut.

    Args:
        rewards: float32[N] in episodes int32[E], one after the other.
        values: V(s_t), float64[N].
        final_values: V of the observation after each episode's last step, float64[E]: 0 where it terminated,
            since nothing comes after it; not 0 where a time limit cut it.

    Returns:
        float64[N].
    """
    advantages = np.empty(len(rewards), np.float64)
    starts = episode_starts(lengths)
    for start, length, following in zip(
        starts.tolist(), lengths.tolist(), final_values.tolist(), strict=True
    ):
        advantage, backwards = 0.0, []
        of_episode = slice(start, start + length)
        steps = zip(rewards[of_episode][::-1].tolist(), values[of_episode][::-1].tolist(), strict=True)
        for reward, value in steps:
            advantage = reward + gamma * following - value + gamma * lam * advantage
            backwards.append(advantage)
            following = value
        advantages[of_episode] = backwards[::-1]
    return advantages
