"""Making one environment, and what a policy needs to know of it."""

import contextlib
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from distpg.config.train_config import TrainConfig
from distpg.environments.sleep_env import register
from distpg.errors import EnvironmentIdError, in_words
from distpg.system.interrupts import Interrupted
from distpg.system.time_limit import time_limit

register()

# Seconds that an environment may take to give back what it holds.
CLOSE_S = 5.0

Env = gymnasium.Env[Any, Any]


@dataclass(frozen=True)
class EnvSpec:
    """How to make an environment; small and plain, so that it can be sent to a runner."""

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None


def env_spec(config: TrainConfig) -> EnvSpec:
    """The environment that a configuration asks for."""
    return EnvSpec(config.env_id, config.env_kwargs, config.max_episode_steps)


@dataclass(frozen=True)
class EnvInfo:
    """Facts of an environment: flat observation size, actions, what it calls solved."""

    observation_size: int
    num_actions: int
    first_action: int
    """What the environment calls the action that the policy numbers 0."""
    reward_threshold: float | None


def make_env(spec: EnvSpec, render_mode: str | None = None) -> Env:
    """One plain environment.

    Raises EnvironmentIdError if there is none, it cannot be made so, or its episodes would never have to end.
    """
    kwargs = spec.env_kwargs if render_mode is None else {**spec.env_kwargs, "render_mode": render_mode}
    try:
        with warnings.catch_warnings():
            # Gymnasium advises newer versions of an environment, once per environment made.
            warnings.simplefilter("ignore")
            env: Env = gymnasium.make(
                spec.env_id, max_episode_steps=spec.max_episode_steps, disable_env_checker=True, **kwargs
            )
    except (Exception, SystemExit) as error:  # whatever a user's own module or constructor raises
        raise _cannot_make(spec.env_id, error) from error
    if env.spec is None or env.spec.max_episode_steps is None:
        env.close()
        raise EnvironmentIdError(
            f"{spec.env_id} has no limit on the length of an episode",
            "Give one with --max-episode-steps: only complete episodes are trained on.",
        )
    return env


def close_env(env: Env) -> str | None:
    """Close an environment, which gets a few seconds; what went wrong, which must cost nobody his results."""
    try:
        with time_limit(CLOSE_S):
            env.close()
    except Interrupted:
        raise
    except BaseException as error:  # SystemExit too: environments end processes
        name = env.spec.id if env.spec else type(env).__name__
        return f"{name} could not be closed: {in_words(error)}"
    return None


def _cannot_make(env_id: str, error: BaseException) -> EnvironmentIdError:
    if not isinstance(error, gymnasium.error.UnregisteredEnv):
        line = " ".join(str(error).split())
        return EnvironmentIdError(
            f"{env_id} cannot be made: {type(error).__name__}: {line}",
            "Check --env-kwargs, the environment's own code and the packages it needs.",
        )
    if ":" in env_id:
        advice = "module:EnvId needs a module that can be imported from here and registers EnvId."
    elif close := get_close_matches(env_id, gymnasium.registry, n=3):
        advice = f"Did you mean {' or '.join(close)}?"
    else:
        advice = "See gymnasium.farama.org for ids; your own is module:EnvId."
    return EnvironmentIdError(f"there is no environment {env_id!r}", advice)


def inspect_env(spec: EnvSpec) -> EnvInfo:
    """Facts of it; raises EnvironmentIdError as :func:`make_env`, or unless a Box and a Discrete."""
    with contextlib.closing(make_env(spec)) as env:
        # A wrapper asked for a space that its environment lacks raises AttributeError.
        space, actions = getattr(env, "observation_space", None), getattr(env, "action_space", None)
        if not isinstance(space, gymnasium.spaces.Box) or not isinstance(actions, gymnasium.spaces.Discrete):
            raise EnvironmentIdError(
                f"{spec.env_id} has observations {space} and actions {actions}",
                "Built-in policies need Box observations and Discrete actions.",
            )
        threshold = env.spec.reward_threshold if env.spec else None
        return EnvInfo(int(np.prod(space.shape)), int(actions.n), int(actions.start), threshold)


def without_wrappers(env: Env) -> tuple[Env, int | None]:
    """An environment without Gymnasium's outermost wrappers that only count steps or check their order.

    They take a third of a step's time. Whoever steps it has to cut episodes after the number of steps given.
    """
    limits = []
    while type(env) in (TimeLimit, OrderEnforcing):
        if isinstance(env, TimeLimit):
            limits.append(int(env._max_episode_steps))
        env = cast("gymnasium.Wrapper[Any, Any, Any, Any]", env).env
    return env, min(limits, default=None)


def first_action(env: Env) -> int:
    """As :attr:`EnvInfo.first_action`."""
    space = env.action_space
    return int(space.start) if isinstance(space, gymnasium.spaces.Discrete) else 0
