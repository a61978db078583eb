"""Small environments of every kind of space, each with something to be learnt."""

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Step = tuple[Any, float, bool, bool, dict[str, Any]]
STEPS = 12


class Guess(gymnasium.Env[Any, Any]):
    """Twelve steps: a reward for each part of an action that is what a hidden number says.

    Args:
        observes: The space in which the hidden number is told, as an expression.
        acts: The action space, likewise.
        ends: Whether an episode does.
    """

    def __init__(self, observes: str = "Discrete(3)", acts: str = "Discrete(3)", ends: bool = True) -> None:
        names = {"np": np, **vars(spaces)}
        self.observation_space = eval(observes, names)
        self.action_space = eval(acts, names)
        self._ends = ends

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._t = 0
        return self._next(), {}

    def _next(self) -> Any:
        self._seen = self.observation_space.sample()
        return self._seen

    def step(self, action: Any) -> Step:
        assert self.action_space.contains(action), action
        told = float(np.mean(spaces.flatten(self.observation_space, self._seen)))
        reward = -abs(float(np.mean(np.asarray(action, np.float64))) - told)
        self._t += 1
        return self._next(), reward, self._ends and self._t == STEPS, False, {}


class Lost(Guess):
    """Its observation after five steps is not finite."""

    def __init__(self) -> None:
        super().__init__("Box(0, 1, (2,))", ends=False)

    def _next(self) -> Any:
        return np.full(2, np.nan if self._t == 5 else self._t, np.float32)

    def step(self, action: int) -> Step:
        self._t += 1
        return self._next(), 1.0, False, False, {}


class Masked(gymnasium.Env[Any, Any]):
    """Five actions, of which one to four are legal and told by a mask; an illegal one raises.

    Args:
        where: ``info`` or ``observation``.
        legal_until: Step from which on no action is.
    """

    action_space = spaces.Discrete(5, start=2)

    def __init__(self, where: str = "info", legal_until: int = STEPS) -> None:
        self._where, self._legal_until = where, legal_until
        seen = spaces.Box(0, 1, (5,), np.float32)
        self.observation_space: Any = seen
        if where == "observation":
            self.observation_space = spaces.Dict(action_mask=spaces.MultiBinary(5), seen=seen)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self._next()

    def _next(self) -> tuple[Any, dict[str, Any]]:
        self._mask = self.np_random.permutation(5) < self.np_random.integers(1, 5)
        self._mask &= self._t < self._legal_until
        self._seen = self.np_random.random(5, np.float32)
        if self._where == "info":
            return self._seen, {"action_mask": self._mask.astype(np.int8)}
        return {"action_mask": self._mask.astype(np.int8), "seen": self._seen}, {}

    def step(self, action: int) -> Step:
        if not self._mask[action - 2]:
            raise RuntimeError(f"action {action} is illegal")
        reward = float(self._seen[action - 2])
        self._t += 1
        observation, info = self._next()
        return observation, reward, self._t >= STEPS, False, info


class Pixels(gymnasium.Env[Any, Any]):
    """Twenty random pictures; a reward of 1 for the last of four actions."""

    observation_space = spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self._picture(), {}

    def _picture(self) -> Any:
        return self.np_random.integers(0, 256, (32, 32, 3), np.uint8)

    def step(self, action: int) -> Step:
        self._t += 1
        return self._picture(), float(action == 3), self._t == 20, False, {}


class Prices(gymnasium.Env[Any, Any]):
    """Four last prices, about 1,000 and 10 apart; a reward for the sign of the last change; 50 steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        self._prices = self.np_random.normal(1000, 10, 4)
        return self._prices.copy(), {}

    def step(self, action: int) -> Step:
        reward = float(action == (self._prices[-1] > self._prices[-2]))
        self._prices = np.append(self._prices[1:], self.np_random.normal(1000, 10))
        self._t += 1
        return self._prices.copy(), reward, self._t == 50, False, {}


for env in (Guess, Masked, Pixels, Prices):
    gymnasium.register(id=env.__name__, entry_point=env)


class Snake(gymnasium.Env[Any, Any]):
    """A walk that draws from the global generators, as many games do: in its constructor, too."""

    observation_space = spaces.Box(-20, 20, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self._start = random.random()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t, self._at = 0, np.array([self._start, random.uniform(-1, 1)], np.float32)
        return self._at, {}

    def step(self, action: int) -> Step:
        self._at = self._at + np.float32([random.gauss(0, 1), np.random.normal()])
        self._t += 1
        return self._at, float(action == (self._at[0] > 0)), self._t == STEPS, False, {}


def snake(length: int = 3, number: int = -1) -> gymnasium.Env[Any, Any]:
    """A factory; ``number`` is one that no other environment has."""
    env = Snake()
    env.length, env.number = length, number  # type: ignore[attr-defined]
    return env


def twice(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """A wrapper: rewards count twice."""
    return gymnasium.wrappers.TransformReward(env, lambda reward: 2 * reward)


gymnasium.register(id="Snake-v0", entry_point=Snake)
