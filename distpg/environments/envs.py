"""Making one environment, and what a policy needs to know of it."""

import time
import warnings
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from distpg.environments.failures import cannot_draw, cannot_make
from distpg.environments.making import Env, EnvSpec, made, release_number
from distpg.environments.sleep_env import register
from distpg.environments.spaces import (
    Actions,
    Observations,
    actions_of,
    dropped_with_masks,
    has_finite_bounds,
    make_space,
    mask_source,
    observations_of,
)
from distpg.errors import DistpgError, EnvironmentIdError, in_words
from distpg.system.interrupts import Interrupted
from distpg.system.time_limit import time_limit

register()

# Seconds that an environment may take to give back what it holds.
CLOSE_S = 5.0

# An episode of more steps than this, where nothing limits them, has run away.
RUNAWAY_STEPS = 100_000


@dataclass(frozen=True)
class EnvInfo:
    """Facts of an environment: its spaces, its limit of steps, what it calls solved.

    ``has_action_bounds``: whether each number of an action, where it is of numbers, has both.
    """

    observations: Observations
    actions: Actions
    has_action_bounds: bool
    max_episode_steps: int | None
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

    Raises EnvironmentIdError if there is none or it cannot be made so; RenderError if it cannot be made to be
    drawn.
    """
    kwargs = spec.env_kwargs if render_mode is None else {**spec.env_kwargs, "render_mode": render_mode}
    try:
        with warnings.catch_warnings():
            # Gymnasium advises newer versions of an environment, once per environment made.
            warnings.simplefilter("ignore")
            env = made(spec, kwargs)
    except (Interrupted, DistpgError):
        raise
    except BaseException as error:  # whatever a user's own module or constructor raises: SystemExit too
        why_not = cannot_make(spec, error) if render_mode is None else cannot_draw(spec.env_id, error)
        raise why_not from error
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
    finally:
        release_number(env)
    return None


def close_all(envs: list[Env]) -> str | None:
    """Close environments, all within a few seconds; what went wrong with one of them. None is left."""
    complaint, deadline = None, time.monotonic() + CLOSE_S
    while envs:
        env = envs.pop()
        if time.monotonic() < deadline:
            complaint = close_env(env) or complaint
    return complaint


def inspect_env(spec: EnvSpec) -> EnvInfo:
    """Facts of it; raises EnvironmentIdError as :func:`make_env` and :func:`info_of`."""
    env = make_env(spec)
    try:
        return info_of(spec, env)
    finally:
        close_env(env)


def info_of(spec: EnvSpec, env: Env) -> EnvInfo:
    """Facts of an environment; raises EnvironmentIdError unless its spaces are some that a policy can use."""
    space, actions = make_space(env, "observation_space"), make_space(env, "action_space")
    if space is None or actions is None:
        missing = "observation" if space is None else "action"
        raise EnvironmentIdError(
            f"{spec.env_id} has no {missing} space",
            f"Its class, or a wrapper of it, must set self.{missing}_space.",
        )
    masks = spec.action_mask
    if masks == "auto":
        masks = mask_source(space, {}) if not isinstance(actions, gymnasium.spaces.Box) else "none"
    if masks == "observation" and mask_source(space, {}) != "observation":
        raise EnvironmentIdError(
            f"--action-mask observation: observations of {spec.env_id} have no part 'action_mask'",
            "Leave --action-mask out: it is found where it is.",
        )
    return EnvInfo(
        observations_of(spec.env_id, space, dropped_with_masks(spec.drop_observations, masks)),
        actions_of(spec.env_id, actions),
        has_finite_bounds(actions),
        env.spec.max_episode_steps if env.spec else None,
        env.spec.reward_threshold if env.spec else None,
    )


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
