"""``distpg/Sleep-v0``: an environment that waits, to measure everything around an environment.

Many runners that sleep share a few cores as many runners that compute share a cluster's, so it shows how
distpg scales beyond the machine at hand.
"""

import math
import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from distpg.config.option_types import Range

ENV_ID = "distpg/Sleep-v0"
# A thousand times the longest mean: even of the widest spread 0.002 % of the steps are cut off.
MAX_EPISODE_STEPS = 10_000_000
_RANGES = {"step_ms": Range(0, 3_600_000), "mean": Range(1, 10_000), "sigma": Range(0, 1.5)}
_LENGTHS = ("constant", "lognormal")

Observation = NDArray[np.float32]


class SleepEnv(gymnasium.Env[Observation, np.int64]):
    """Episodes that end after a number of steps drawn from the reset's seed alone; a step is a sleep.

    It observes the steps made so far in units of the mean length, float32[1]; either of its two actions does
    the same, and earns 1.

    Args:
        step_ms: Milliseconds that a step sleeps; 0: it does not even call sleep.
        length: ``constant``, or ``lognormal`` with mu = ln(mean) - sigma²/2, rounded, at least 1. That
            minimum raises a small mean: at sigma 1 by 0.7 % where it is 5, by 0.07 % where it is 10.
        mean: Mean length of an episode, in steps; of constant ones a whole number.
        sigma: Standard deviation of a lognormal length's logarithm.

    Raises:
        ValueError: An argument is of no such value.
    """

    def __init__(
        self, step_ms: float = 5.0, length: str = "constant", mean: float = 20, sigma: float = 1.0
    ) -> None:
        for name, value in (("step_ms", step_ms), ("mean", mean), ("sigma", sigma)):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or value not in _RANGES[name]:
                raise ValueError(f"{name} must be a number {_RANGES[name]}, not {value!r}")
        if length not in _LENGTHS:
            raise ValueError(f"length must be {' or '.join(_LENGTHS)}, not {length!r}")
        if length == "constant" and mean != int(mean):
            raise ValueError(f"mean must be a whole number of steps where length is constant, not {mean!r}")
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._step_s = step_ms / 1000
        self._mean = mean
        self._mu_and_sigma = (math.log(mean) - sigma**2 / 2, sigma) if length == "lognormal" else None
        self._length = self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw the episode's length."""
        super().reset(seed=seed)
        self._steps = 0
        if self._mu_and_sigma is None:
            self._length = int(self._mean)
        else:
            self._length = max(1, round(self.np_random.lognormal(*self._mu_and_sigma)))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Sleep once."""
        if self._step_s:
            time.sleep(self._step_s)
        self._steps += 1
        return self._observe(), 1.0, self._steps >= self._length, False, {}

    def _observe(self) -> Observation:
        return np.array([self._steps / self._mean], np.float32)


def register() -> None:
    """Make the environment known to Gymnasium by its id."""
    gymnasium.register(ENV_ID, entry_point=f"{__name__}:SleepEnv", max_episode_steps=MAX_EPISODE_STEPS)
