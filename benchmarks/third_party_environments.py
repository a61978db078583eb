"""What packages offer that keep not to Gymnasium's interface, or register nothing: factories for --env-id."""

from __future__ import annotations

from typing import Any

import econgym
import gymnasium
import numpy as np
from JSSEnv.envs.jss_env import JssEnv


class JobShop(JssEnv):
    """JSSEnv's, whose reset takes no seed and gives no info."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        return super().reset(), {}


class Firm(gymnasium.Env[np.ndarray, np.ndarray]):
    """One of three firms of econgym's Cournot market; the others offer what they would in equilibrium."""

    action_space = gymnasium.spaces.Box(0.0, 90.0, (1,))
    observation_space = gymnasium.spaces.Box(0.0, 90.0, (2,))
    periods = 20

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._market = econgym.make("Cournot-v0")
        self._period = 0
        return self._market.reset(rng=self.np_random)[0].astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        market = self._market
        others = (market.a - market.c) / (market.b * (market.n + 1))
        observations, rewards, *_ = market.step([float(action[0]), others, others])
        self._period += 1
        return observations[0].astype(np.float32), float(rewards[0]), self._period == self.periods, False, {}


def matrix_mdp() -> gymnasium.Env[Any, Any]:
    """matrix-mdp-gym's, of four states in a row, the last of which ends; it draws from numpy.random."""
    import matrix_mdp  # noqa: F401  # registers it

    transitions, rewards = np.zeros((4, 4, 2)), np.zeros((4, 4, 2))
    for state in range(3):
        for action, step in enumerate((-1, 1)):
            transitions[min(3, max(0, state + step)), state, action] += 0.9
            transitions[state, state, action] += 0.1
    rewards[3] = 1.0
    start = np.array([1.0, 0.0, 0.0, 0.0])
    return gymnasium.make(
        "matrix_mdp/MatrixMDP-v0", p_0=start, p=transitions, r=rewards, disable_env_checker=True
    )
