"""How an environment is named, and made from that: by Gymnasium, or by a class or function of the user's."""

import contextlib
import importlib
import json
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import gymnasium
from gymnasium.wrappers import TimeLimit

from distpg.config.given import Given, is_of_a_program, missing
from distpg.config.train_config import TrainConfig
from distpg.errors import EnvironmentIdError
from distpg.system.named import named
from distpg.system.numbers import Number

Env = gymnasium.Env[Any, Any]


@dataclass(frozen=True)
class EnvSpec:
    """How to make and read an environment; small and plain, so that it can be sent to a runner.

    ``number_kwarg`` names an argument that gets a number which no other environment alive on this machine
    has; it is no part of what the environment is.
    ``drop_observations`` names parts that a policy does not see; ``action_mask`` says where masks are, as of
    :func:`distpg.environments.spaces.mask_source`.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    wrappers: tuple[str, ...] = ()
    number_kwarg: str | None = None
    drop_observations: tuple[str, ...] = ()
    action_mask: str = "none"

    @property
    def is_of_this_program(self) -> bool:
        """Whether a part of it is a class, a function or a value that only this program has."""
        try:
            json.dumps(self.env_kwargs)
        except TypeError:
            return True
        return any(isinstance(name, Given) for name in (self.env_id, *self.wrappers))


def env_spec(config: TrainConfig) -> EnvSpec:
    """The environment that a configuration asks for."""
    return EnvSpec(
        cast("str", config.env_id),
        config.env_kwargs,
        config.max_episode_steps,
        cast("tuple[str, ...]", config.wrappers),
        config.env_number_kwarg,
        config.drop_observations,
        config.action_mask,
    )


def made(spec: EnvSpec, kwargs: dict[str, Any]) -> Env:
    """The environment with these arguments, in its wrappers; raises whatever they do.

    What Gymnasium does not know is a class or function in the module before the colon, or one that only this
    program has.
    """
    names = [name for name in (spec.env_id, *spec.wrappers) if is_of_a_program(name)] + missing(
        spec.env_kwargs
    )
    if names:
        raise EnvironmentIdError(
            f"{', '.join(names)} is of the program that started the run",
            "Go on from there: distpg.resume(run, env_id=..., env_kwargs=...), and so evaluate and replay.",
        )
    number = Number.free() if spec.number_kwarg is not None else None
    env: Env | None = None
    try:
        env = _limited(spec, kwargs if number is None else {**kwargs, str(spec.number_kwarg): number.value})
        for wrapper in spec.wrappers:
            wrapped = callable_of(wrapper)(env)
            if not isinstance(wrapped, gymnasium.Env):
                raise TypeError(f"--wrappers {wrapper} gives {type(wrapped).__name__}, not a gymnasium.Env")
            env = wrapped
    except BaseException:
        if env is not None:  # it may hold what the number stands for
            with contextlib.suppress(Exception):
                env.close()
        if number is not None:
            number.release()
        raise
    if number is not None:
        weakref.finalize(env.unwrapped, number.release)
        _numbers[id(env.unwrapped)] = number
    return env


# Of environments that are alive.
_numbers: dict[int, Number] = {}


def release_number(env: Env) -> None:
    """Give back the number of an environment that is closed, if it has one."""
    if _numbers and (number := _numbers.pop(id(env.unwrapped), None)) is not None:
        number.release()


def _limited(spec: EnvSpec, kwargs: dict[str, Any]) -> Env:
    make = factory_of(spec.env_id)
    if make is None:
        limit = spec.max_episode_steps
        env: Env = gymnasium.make(spec.env_id, max_episode_steps=limit, disable_env_checker=True, **kwargs)
        return env
    env = make(**kwargs)
    if not isinstance(env, gymnasium.Env):
        raise TypeError(f"it gives {type(env).__name__}, not a gymnasium.Env")
    return env if spec.max_episode_steps is None else TimeLimit(env, spec.max_episode_steps)


def factory_of(env_id: str) -> Callable[..., Any] | None:
    """The class or function of ``module:name``; None where Gymnasium has that id, or there is none."""
    if isinstance(env_id, Given):
        return cast("Callable[..., Any]", env_id.value)
    module, colon, name = env_id.rpartition(":")
    if not colon or not name.isidentifier():
        return None
    importlib.import_module(module)
    if name in gymnasium.registry or not callable(getattr(sys.modules[module], name, None)):
        return None
    return cast("Callable[..., Any]", named(env_id, gymnasium.Env))


def callable_of(name: str) -> Callable[[Env], Env]:
    """The function or class that a wrapper's name says."""
    if isinstance(name, Given):
        return cast("Callable[[Env], Env]", name.value)
    return cast("Callable[[Env], Env]", named(name, gymnasium.Wrapper))
