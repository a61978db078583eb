"""Making one environment, and what a policy needs to know of it."""

import contextlib
import math
import re
import time
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

import gymnasium
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from distpg.config.train_config import TrainConfig
from distpg.environments.sleep_env import register
from distpg.errors import DistpgError, EnvironmentIdError, RenderError, in_words, shortened
from distpg.system.interrupts import Interrupted
from distpg.system.time_limit import time_limit

register()

# Seconds that an environment may take to give back what it holds.
CLOSE_S = 5.0

# Numbers of an observation, 64 MiB as float32; and actions.
MAX_OBSERVATION_SIZE = 2**24
MAX_ACTIONS = 2**20
# Kinds of NumPy's dtypes: bool, integers and floats.
_REAL = "biuf"

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


@dataclass(frozen=True)
class Origin:
    """Where an environment comes from: its class, without wrappers, and what it is registered with."""

    kind: type[Any]
    entry_point: object
    registered_id: str | None


def origin_of(env: Env) -> Origin:
    """The origin of an environment."""
    spec = env.spec
    return Origin(type(env.unwrapped), spec.entry_point if spec else None, spec.id if spec else None)


def make_env(spec: EnvSpec, render_mode: str | None = None) -> Env:
    """One plain environment.

    Raises EnvironmentIdError if there is none, it cannot be made so, or its episodes would never have to end;
    RenderError if it cannot be made to be drawn.
    """
    kwargs = spec.env_kwargs if render_mode is None else {**spec.env_kwargs, "render_mode": render_mode}
    try:
        with warnings.catch_warnings():
            # Gymnasium advises newer versions of an environment, once per environment made.
            warnings.simplefilter("ignore")
            env: Env = gymnasium.make(
                spec.env_id, max_episode_steps=spec.max_episode_steps, disable_env_checker=True, **kwargs
            )
    except (Interrupted, DistpgError):
        raise
    except BaseException as error:  # whatever a user's own module or constructor raises: SystemExit too
        why_not = _cannot_make(spec, error) if render_mode is None else cannot_draw(spec.env_id, error)
        raise why_not from error
    if env.spec is None or env.spec.max_episode_steps is None:
        close_env(env)
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


def close_all(envs: list[Env]) -> str | None:
    """Close environments, all within a few seconds; what went wrong with one of them. None is left."""
    complaint, deadline = None, time.monotonic() + CLOSE_S
    while envs:
        env = envs.pop()
        if time.monotonic() < deadline:
            complaint = close_env(env) or complaint
    return complaint


def _cannot_make(spec: EnvSpec, error: BaseException) -> EnvironmentIdError:
    env_id = spec.env_id
    is_outdated = isinstance(error, gymnasium.error.DeprecatedEnv)
    if not isinstance(error, gymnasium.error.UnregisteredEnv) and not is_outdated:
        if isinstance(error, gymnasium.error.DependencyNotInstalled):
            advice = "Install it, then try again."
        elif spec.env_kwargs or (isinstance(error, TypeError) and "argument" in in_words(error)):
            advice = "Check --env-kwargs, the environment's own code and the packages it needs."
        else:
            advice = "Check the environment's own code and the packages it needs."
        return EnvironmentIdError(f"{env_id} cannot be made: {in_words(error)}", advice)
    _, colon, name = env_id.rpartition(":")
    same = re.escape(re.sub(r"-v\d+$", "", name))
    versions = [
        int(known[1]) for one in gymnasium.registry if (known := re.fullmatch(rf"{same}-v(\d+)", one))
    ]
    if versions:
        advice = f"Did you mean {re.sub(r'-v[0-9]+$', '', env_id)}-v{max(versions)}?"
    elif colon:
        advice = "module:EnvId needs a module that can be imported from here and registers EnvId."
    elif close := get_close_matches(name, gymnasium.registry, n=3):
        advice = f"Did you mean {' or '.join(close)}?"
    else:
        advice = "See gymnasium.farama.org for ids; your own is module:EnvId."
    return EnvironmentIdError(f"there is no environment {env_id!r}", advice)


def cannot_draw(env_id: str, error: BaseException) -> RenderError:
    """Why there is no picture of an environment, which plays all the same."""
    words = in_words(error)
    if isinstance(error, (gymnasium.error.DependencyNotInstalled, ImportError)):
        advice = "Install it, then try again."
        if "pygame" in words or "classic" in words or "toy" in words:
            advice = "pip install 'distpg[render]' has what Gymnasium's own need; then try again."
    elif isinstance(error, NotImplementedError):
        advice = "Its class needs a method render, and rgb_array among its render modes."
    elif "'render_mode'" in words:
        advice = "Its constructor needs an argument render_mode, which it keeps as self.render_mode."
    elif re.search(r"GL\b|GLX|EGL|OSMesa|DISPLAY|X11|display|video device", words):
        advice = "It needs a display or OpenGL: try MUJOCO_GL=egl, SDL_VIDEODRIVER=dummy, or xvfb-run."
    else:
        advice = "Its own code that draws failed; all else does without it."
    return RenderError(f"{env_id} cannot be drawn: {words}", advice)


def inspect_env(spec: EnvSpec) -> EnvInfo:
    """Facts of it; raises EnvironmentIdError as :func:`make_env` and :func:`info_of`."""
    env = make_env(spec)
    try:
        return info_of(spec.env_id, env)
    finally:
        close_env(env)


def info_of(env_id: str, env: Env) -> EnvInfo:
    """Facts of an environment; raises EnvironmentIdError unless a Box and a Discrete of sizes that can be."""
    space = actions = None
    with contextlib.suppress(Exception):  # a wrapper asked for a space that its environment lacks raises
        space = env.observation_space
        actions = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or not isinstance(actions, gymnasium.spaces.Discrete):
        is_made_of_parts = isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple))
        cure = " gymnasium.wrappers.FlattenObservation makes a Box of it." if is_made_of_parts else ""
        raise EnvironmentIdError(
            shortened(f"{env_id} has observations {space} and actions {actions}"),
            f"Built-in policies need Box observations and Discrete actions.{cure}",
        )
    size, num_actions = math.prod(space.shape), int(actions.n)
    if space.dtype is None or space.dtype.kind not in _REAL or not 0 < size <= MAX_OBSERVATION_SIZE:
        raise EnvironmentIdError(
            f"{env_id} has observations of shape {space.shape} and dtype {space.dtype}",
            f"They must be real numbers, 1 to {MAX_OBSERVATION_SIZE:,} of them.",
        )
    if num_actions > MAX_ACTIONS:
        raise EnvironmentIdError(
            f"{env_id} has {num_actions:,} actions",
            f"A policy has a weight or more for each: at most {MAX_ACTIONS:,} can be learnt.",
        )
    threshold = env.spec.reward_threshold if env.spec else None
    return EnvInfo(size, num_actions, int(actions.start), threshold)


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
