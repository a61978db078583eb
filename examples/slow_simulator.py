"""An environment of your own: a simulator that takes its time, trained on all cores by naming it.

    distpg train --env-id examples.slow_simulator:Tank --env-kwargs '{"step_ms": 2}' --num-env-runners 8

Runners that wait rather than compute may be more than there are CPUs: see `distpg doctor --env-id`.
"""

import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.float32]


class Tank(gymnasium.Env[Observation, int]):
    """Keep a leaking tank half full: the valve lets nothing, a little or much into it.

    Args:
        step_ms: Milliseconds that the simulator needs for a step.
        num_steps: Length of an episode.
    """

    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, step_ms: float = 2.0, num_steps: int = 50) -> None:
        self._step_s = step_ms / 1000
        self._num_steps = num_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A tank with another level and another leak."""
        super().reset(seed=seed)
        # All randomness from self.np_random: the same seed and actions give the same episode everywhere.
        self._level, self._leak = self.np_random.random(), self.np_random.uniform(0.02, 0.08)
        self._t = 0
        return self._seen(), {}

    def _seen(self) -> Observation:
        return np.array([self._level, 10 * self._leak], np.float32)

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let water in: nothing, 5 or 10 % of the tank."""
        time.sleep(self._step_s)
        self._level = float(np.clip(self._level + 0.05 * action - self._leak, 0, 1))
        self._t += 1
        reward = 1 - 2 * abs(self._level - 0.5)
        return self._seen(), reward, False, self._t == self._num_steps, {}
