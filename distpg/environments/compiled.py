"""Environments whose steps are compiled, so that many episodes are played side by side in one process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray
from typing_extensions import override

from distpg.environments.making import EnvSpec, factory_of


@dataclass(frozen=True)
class CompiledEnvironment:
    """An environment as three functions over lanes, which numba compiles; called, it is a Gymnasium one.

    Its functions are plain Python that numba understands, without any state but ``state``:

    - ``reset(state, lane, uniforms)`` begins an episode in ``state[:, lane]``, from random numbers in [0, 1):
      the first of ``numpy.random.default_rng(seed)``.
    - ``step(state, actions, rewards, terminated)`` makes a step in every lane, by ``actions[lane]``, and says
      what it gave and whether the episode has ended: ``rewards[lane]``, ``terminated[lane]``.
    - ``observe(state, observations)`` writes what the policy sees, ``observations[:, lane]``.

    A lane must depend on itself alone. Loops over lanes innermost become vector instructions.

    Args:
        state_size: Numbers that are an episode's state: ``state`` is float64[state_size, lanes].
        observation_space: A Box of float32 and one dimension: ``observations`` is float32[size, lanes].
        action_space: Discrete from 0 on: ``actions`` is int64[lanes]; ``rewards`` is float64, ``terminated``
            bool.
        num_uniforms: Random numbers that ``reset`` gets, float64[num_uniforms].
        max_episode_steps: Where an episode is truncated, if it has not ended before.
    """

    reset: Callable[..., None]
    step: Callable[..., None]
    observe: Callable[..., None]
    state_size: int
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete
    num_uniforms: int = 0
    max_episode_steps: int | None = None

    def __post_init__(self) -> None:
        observations, actions = self.observation_space, self.action_space
        if len(observations.shape) != 1 or observations.dtype != np.float32:
            raise ValueError(f"a compiled environment observes a Box of float32 in a row, not {observations}")
        if actions.start != 0:
            raise ValueError(f"actions of a compiled environment are numbered from 0, not as {actions}")

    def __call__(self) -> gymnasium.Env[Any, Any]:
        """It as Gymnasium has environments: one episode at a time."""
        env: gymnasium.Env[Any, Any] = OneLane(self)
        return env if self.max_episode_steps is None else TimeLimit(env, self.max_episode_steps)

    @property
    def key(self) -> str | None:
        """Of all that its functions are compiled from; None where files and constants do not tell it."""
        found: dict[str, str] = {}
        known = all(_describe(one, found) for one in (self.reset, self.step, self.observe))
        names = [getattr(one, "__qualname__", "") for one in (self.reset, self.step, self.observe)]
        return hashlib.sha256(repr((names, sorted(found.items()))).encode()).hexdigest() if known else None


def _describe(function: Any, found: dict[str, str]) -> bool:
    """Add a function, and what it refers to, to what is found; whether all of it can be told from another."""
    plain = getattr(function, "py_func", function)
    code = getattr(plain, "__code__", None)
    if code is None:  # compiled by others: their version decides
        return True
    name = f"{plain.__module__}:{plain.__qualname__}:{code.co_firstlineno}"
    if name in found:
        return True
    try:
        found[name] = hashlib.sha256(Path(code.co_filename).read_bytes()).hexdigest()
    except OSError:
        return False
    if plain.__closure__ or plain.__defaults__ or plain.__kwdefaults__:
        return False
    for word in code.co_names:
        value = plain.__globals__.get(word)
        if callable(value):
            if not _describe(value, found):
                return False
        elif value is not None and not isinstance(value, ModuleType):
            content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            found[f"{name}:{word}"] = hashlib.sha256(content).hexdigest()
    return True


class OneLane(gymnasium.Env[Any, Any]):
    """A compiled environment, one episode at a time."""

    def __init__(self, compiled: CompiledEnvironment) -> None:
        from distpg.kernels.compile_cache import njit

        self.observation_space: gymnasium.Space[Any] = compiled.observation_space
        self.action_space: gymnasium.Space[Any] = compiled.action_space
        self._num_uniforms = compiled.num_uniforms
        functions, key = (compiled.reset, compiled.step, compiled.observe), compiled.key
        self._reset, self._step, self._observe = (njit(f, key, allocates=True) for f in functions)
        self._state = np.zeros((compiled.state_size, 1))
        self._seen = np.zeros((*compiled.observation_space.shape, 1), np.float32)
        self._actions, self._rewards = np.zeros(1, np.int64), np.zeros(1)
        self._terminated = np.zeros(1, np.bool_)

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._reset(self._state, 0, self.np_random.random(self._num_uniforms))
        return self._observed(), {}

    @override
    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._actions[0] = action
        self._step(self._state, self._actions, self._rewards, self._terminated)
        return self._observed(), float(self._rewards[0]), bool(self._terminated[0]), False, {}

    def _observed(self) -> NDArray[np.float32]:
        self._observe(self._state, self._seen)
        seen: NDArray[np.float32] = self._seen[:, 0].copy()
        return seen


def compiled_environment(spec: EnvSpec) -> CompiledEnvironment | None:
    """The compiled form of an environment; None where it has none, or is wrapped or made with arguments."""
    if spec.env_kwargs or spec.wrappers or spec.number_kwarg is not None:
        return None
    found = factory_of(spec.env_id)
    return found if isinstance(found, CompiledEnvironment) else _of_gymnasium(spec.env_id)


@functools.cache
def _of_gymnasium(env_id: str) -> CompiledEnvironment | None:
    """Gymnasium's own environments that are compiled too."""
    if env_id not in ("CartPole-v1", "Acrobot-v1", "MountainCar-v0"):
        return None
    from distpg.kernels import acrobot, cartpole, mountain_car

    kernel = {"CartPole-v1": cartpole, "Acrobot-v1": acrobot, "MountainCar-v0": mountain_car}[env_id]
    with contextlib.closing(gymnasium.make(env_id)) as env:
        return CompiledEnvironment(
            kernel.reset,
            kernel.step,
            kernel.observe,
            kernel.STATE_SIZE,
            cast("gymnasium.spaces.Box", env.observation_space),
            cast("gymnasium.spaces.Discrete", env.action_space),
            kernel.NUM_UNIFORMS,
            env.spec.max_episode_steps if env.spec else None,
        )
