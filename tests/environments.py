"""Small environments for the tests; importable by runners as ``tests.environments:Id``."""

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class ShortOrLong(gymnasium.Env):
    """Episodes of 2 or of 200 steps, decided by the reset seed, each with probability one half."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.remaining = 2 if self.np_random.random() < 0.5 else 200
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Step:
        self.remaining -= 1
        return np.zeros(1, np.float32), 1.0, self.remaining == 0, False, {}


class OffsetActions(ShortOrLong):
    """Actions are 5, 6 and 7; the reward is the action."""

    action_space = gymnasium.spaces.Discrete(3, start=5)

    def step(self, action: int) -> Step:
        assert self.action_space.contains(action)
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action), terminated, truncated, info


class Fails(ShortOrLong):
    """Raises at the third step of long episodes, or of that share of them."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        result = super().reset(**kwargs)
        self.fails = self.np_random.random() < self.share
        return result

    def step(self, action: int) -> Step:
        result = super().step(action)
        if self.remaining == 197 and self.fails:
            raise ValueError("the simulator broke")
        return result


class KillsOnce(ShortOrLong):
    """Kills its process at the first step taken anywhere; ``marker`` remembers that it did."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def step(self, action: int) -> Step:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Spoils(ShortOrLong):
    """Gives at its second step what no environment should."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.count = 0
        return super().reset(**kwargs)

    def step(self, action: int) -> Any:
        result = list(super().step(action))
        self.count += 1
        if self.count == 2:
            result[2] = False
            where, what = {
                "nan": (0, np.array([np.nan], np.float32)),
                "infinite": (0, np.array([-np.inf, np.inf], np.float32)[1:]),
                "too large": (0, np.array([1e300])),
                "shape": (0, np.zeros(2, np.float32)),
                "text": (0, np.array(["left"])),
                "reward": (1, float("nan")),
                "no reward": (1, None),
            }[self.kind]
            result[where] = what
        return tuple(result)


class Drawn(ShortOrLong):
    """Episodes of 2 or 20 steps that can be drawn; the picture is darker with every step."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 25}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        result = super().reset(seed=seed)
        self.remaining = min(self.remaining, 20)
        return result

    def render(self) -> np.ndarray:
        return np.full((24, 32, 3), 10 * self.remaining, np.uint8)


class Unrepeatable(ShortOrLong):
    """Its rewards come from a counter of the whole process."""

    steps = 0

    def step(self, action: int) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        Unrepeatable.steps += 1
        return observation, float(Unrepeatable.steps), terminated, truncated, info


for env in (ShortOrLong, OffsetActions, Fails, Spoils, KillsOnce, Drawn, Unrepeatable):
    gymnasium.register(id=env.__name__, entry_point=env, max_episode_steps=1000)
