"""From what a user asked for to what is run: the environment is looked at, and nothing stays ``auto``."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from distpg.config.train_config import TrainConfig, deciding_options, resolve_config
from distpg.core.events import Advice, EnvNotChecked, Event, NotReproducible
from distpg.core.policies import Distribution, Normalisation, PolicySpec, is_image_shape
from distpg.environments.contract import FirstLook, first_look
from distpg.environments.envs import EnvInfo
from distpg.environments.making import env_spec
from distpg.environments.registration import UNCHECKED, is_registered_here_alone, not_for_runners
from distpg.environments.reproducibility import (
    Verdict,
    examine_and_keep,
    is_verified,
    kept_verdict,
    known_verdict,
)
from distpg.environments.spaces import Observations
from distpg.errors import ConfigError
from distpg.kernels.compile_cache import do_without_cache
from distpg.runs.directory import load_run_config
from distpg.sampling.compiled_sampler import why_not_compiled
from distpg.system.hardware import free_memory
from distpg.training.preflight import check_iteration

# Bounds that a network takes as they are, and the sides of what is an image, not a board.
_SMALL, _IMAGE = 10.0, 16
_MODULES = {"cnn": "distpg.learning.cnn:image_policy"}
_MAX_FEATURES = 100_000
# 4 GB as float32; the learner holds some four times as much.
_MAX_WEIGHTS = 10**9

SEEDED = Advice(
    "the environment draws from random or numpy.random: both are seeded at each reset, and episodes are "
    "played one by one",
    "It is as fast as others with self.np_random in their place.",
)


@dataclass(frozen=True)
class Prepared:
    """A configuration that can be run.

    Attributes:
        config: Without ``auto``, but for the number of runners.
        look: How long the environment took to be made and to step, and what its observations are like.
        events: What was found out about the environment.
    """

    config: TrainConfig
    env: EnvInfo
    policy: PolicySpec
    look: FirstLook
    events: tuple[Event, ...] = ()

    @property
    def why_not(self) -> str | None:
        """Why a run of it is not reproducible; None as far as is known."""
        return next((event.why_not for event in self.events if event.why_not is not None), None)


def prepare(config: TrainConfig, look: FirstLook | None = None) -> Prepared:
    """Look at the environment, and decide what the configuration leaves open.

    It is made and plays a few steps in this process, before anything is started. Whether it is reproducible
    is checked only where ``env_reuse`` is ``auto``, so never again for a run that has begun.

    Args:
        look: What was seen of the same environment already.

    Raises:
        ConfigError: The environment is not there, does not suit the policy or keep to Gymnasium's interface,
            takes too long, or would not be there for runners.
    """
    if config.record_dispatch is not None:  # absolute: an environment may change the working directory
        config = replace(config, record_dispatch=str(Path(config.record_dispatch).absolute()))
    if not config.compile_cache:
        do_without_cache()
    spec = env_spec(config)
    # What ends its process must not end this one, if runners are to play it: others try it first.
    is_checked = config.env_reuse == "auto" and config.num_env_runners != 0
    timeout_s = config.env_start_timeout_s
    look = look or first_look(
        spec, timeout_s, lambda origin: not is_checked or known_verdict(spec, origin) is not None
    )
    env = look.info
    policy_spec(config, env)  # before the environment is played: it may be impossible
    verdict = _verdict(config, look)
    if look.step_s == 0:
        # A step may end this process too, where it ended those that were to find out; a reset tells of masks.
        look = first_look(spec, timeout_s, max_steps=0 if "unchecked" in verdict.causes else None)
    resolved = resolve_config(
        config,
        env.reward_threshold,
        verdict.env_reuse,
        look.action_mask,
        suitable_normalisation(env.observations),
    )
    policy = policy_spec(resolved, env)
    resolved = replace(resolved, sampler=_sampler(config, policy))
    runners_hash_seed = os.environ.get("PYTHONHASHSEED") if config.num_env_runners == 0 else "0"
    why = verdict.why_not_reproducible(runners_hash_seed)
    events: list[Event] = [] if why is None else [NotReproducible(why)]
    if resolved.env_reuse == "seeded" and config.env_reuse == "auto":
        events.append(SEEDED)
    if verdict.details is not None:
        events.append(EnvNotChecked(verdict.details))
    if (memory := check_iteration(resolved, env, free_memory())) is not None:
        events.append(memory)
    if look.complaint is not None:
        events.append(Advice(look.complaint, "What it holds may stay taken; nothing else depends on it."))
    return Prepared(resolved, env, policy, look, tuple(events))


def _verdict(config: TrainConfig, look: FirstLook) -> Verdict:
    """What the environment depends on, if that is to be checked (ConfigError: runners would not have it)."""
    spec, asks = env_spec(config), config.env_reuse == "auto"
    # Whoever has started Ray may have told its workers to run something first.
    has_ray = (
        getattr(sys.modules.get("ray"), "is_initialized", bool)()
        or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    )
    is_for_runners = config.num_env_runners != 0 and not has_ray
    if asks and (kept := kept_verdict(spec, look.origin)) is not None:
        return kept  # so other processes have it
    if (asks or is_for_runners) and is_registered_here_alone(spec.env_id, look.origin):
        if is_for_runners:
            raise not_for_runners(spec.env_id)
        return Verdict(("unchecked",), UNCHECKED) if asks else Verdict()
    if not asks or is_verified(look.origin):
        return Verdict()
    return examine_and_keep(spec, look.origin, look)


def prepared_run(run: Path, of_program: Mapping[str, Any], may_differ: bool = False) -> Prepared:
    """What a run was prepared to.

    Args:
        of_program: ``env_id``, ``env_kwargs``, ``wrappers`` or ``policy``, where they are of the program that
            started it.
        may_differ: Whether the environment's arguments may be others, which are added to the run's.

    Raises:
        RunDirectoryError: This is not a run directory.
        ConfigError: These are not the run's; else as prepare.
    """
    before = load_run_config(run)
    changes = {name: value for name, value in of_program.items() if value is not None}
    if may_differ and "env_kwargs" in changes:
        changes["env_kwargs"] = before.env_kwargs | changes["env_kwargs"]
        before = replace(before, env_kwargs=changes["env_kwargs"])
    now = replace(before, **changes)
    if (options := deciding_options(now)) != (those := deciding_options(before)):
        (name, *_) = [name for name in options if options[name] != those[name]]
        raise ConfigError(
            f"{run} has another {name}: {those[name]}, not {options[name]}",
            "Give what the run was started with.",
        )
    return prepare(now)


def _sampler(config: TrainConfig, policy: PolicySpec) -> Literal["gymnasium", "compiled"]:
    """What plays the episodes (ConfigError: the compiled sampler is asked for, and cannot)."""
    if config.sampler == "gymnasium":
        return "gymnasium"
    why_not = why_not_compiled(env_spec(config), policy)
    if why_not is not None and config.sampler == "compiled":
        raise ConfigError(f"--sampler compiled: {why_not}", "Leave --sampler out.")
    return "compiled" if why_not is None else "gymnasium"


def suitable_normalisation(observations: Observations) -> Normalisation:
    """What makes numbers of about -1 to 1 of observations: nothing where bounds say that they are small.

    Images by their bounds. Other whole numbers seldom use all of theirs: MiniGrid has 0 to 255 and gives 0 to
    10.
    """
    if max(abs(observations.low), abs(observations.high)) <= _SMALL:
        return "none"
    is_image = len(observations.shape) >= 2 and sorted(observations.shape)[-2] >= _IMAGE
    return "bounds" if observations.dtype == np.uint8 and is_image else "running"


def policy_spec(config: TrainConfig, env: EnvInfo) -> PolicySpec:
    """The policy that a configuration asks for.

    Raises:
        ConfigError: It would have too many terms or weights, or needs bounds that the environment lacks.
    """
    asked = config.normalise_observations
    size = env.observations.size
    degree = config.degree if config.policy == "polynomial" else 1
    spec = PolicySpec(
        size,
        env.actions.sizes,
        config.hidden_sizes if config.policy == "mlp" else (),
        degree,
        _distribution(config, env),
        "none" if asked == "auto" else asked,
        (env.observations.low, env.observations.high),
        _module_of(config),
        shape=env.observations.shape,
    )
    _check_images(config, env.observations.shape)
    if spec.module:
        spec = _with_shapes(spec, config.seed)
    if spec.normalisation == "bounds" and not np.isfinite(spec.bounds).all():
        raise ConfigError(
            f"--normalise-observations bounds: observations of {config.env_id} have none",
            "Use running, which measures them.",
        )
    if degree > 1 and spec.num_features > _MAX_FEATURES:
        raise ConfigError(
            f"a polynomial of degree {degree} in {size} numbers has {spec.num_features:,} terms",
            f"Lower --degree until there are at most {_MAX_FEATURES:,}, or use --policy mlp.",
        )
    if spec.num_weights > _MAX_WEIGHTS:
        shape = " to ".join(f"{size:,}" for size in spec.layer_sizes)
        raise ConfigError(
            f"a policy from {shape} numbers would have {spec.num_weights:,} weights",
            f"At most {_MAX_WEIGHTS:,} are possible: make observations or --hidden-sizes smaller.",
        )
    return spec


def _check_images(config: TrainConfig, shape: tuple[int, ...]) -> None:
    """Raise ConfigError where the built-in network for images gets none."""
    if config.policy == "cnn" and not is_image_shape(shape):
        raise ConfigError(
            f"--policy cnn: observations of {config.env_id} are of shape {shape}, which are no images",
            "Use --policy mlp.",
        )


def _module_of(config: TrainConfig) -> str:
    """The factory of the policy's torch module; empty: it is layers."""
    name = cast("str", config.policy)
    return "" if name in ("linear", "polynomial", "mlp") else _MODULES.get(name, name)


def _with_shapes(spec: PolicySpec, seed: int) -> PolicySpec:
    """With those of the module's parameters, which is made once to be looked at."""
    from distpg.learning.modules import check_module, new_module, parameter_shapes
    from distpg.learning.settings import own_settings

    with own_settings():
        module = new_module(spec, seed)
        check_module(spec, module)
    return replace(spec, module_shapes=parameter_shapes(module))


def _distribution(config: TrainConfig, env: EnvInfo) -> Distribution:
    if env.actions.is_categorical:
        return "categorical"
    if config.action_bounds == "clip":
        return "normal"
    if not env.has_action_bounds:
        raise ConfigError(
            f"--action-bounds tanh: actions of {config.env_id} have none",
            "Use clip, which leaves numbers without bounds as they are drawn.",
        )
    return "tanh-normal"
