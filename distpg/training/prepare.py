"""From what a user asked for to what is run."""

from __future__ import annotations

import os
from collections.abc import Callable

from distpg.config.train_config import TrainConfig, resolve_config
from distpg.core.events import EnvNotChecked, Event, NotReproducible
from distpg.core.policies import PolicySpec
from distpg.environments.envs import EnvSpec, env_spec, inspect_env
from distpg.environments.reproducibility import EnvReuse, verdict_of
from distpg.kernels.compile_cache import do_without_cache
from distpg.sampling.env_runner import policy_spec


def prepare(
    config: TrainConfig, on_event: Callable[[Event], None] = lambda event: None
) -> tuple[TrainConfig, PolicySpec]:
    """The configuration without ``auto`` (but for the runners), and the shape of its policy.

    Args:
        on_event: Told if the environment is not reproducible. It is checked only where ``env_reuse`` is
            ``auto``, so never again for a run that has begun.

    Raises:
        ConfigError: The environment is not there, or does not suit the policy.
    """
    if not config.compile_cache:
        do_without_cache()
    spec = env_spec(config)
    env = inspect_env(spec)
    policy = policy_spec(config, env.observation_size, env.num_actions)
    reuse: EnvReuse = "always"
    if config.env_reuse == "auto":
        reuse = _checked_reuse(spec, config.num_env_runners == 0, on_event)
    return resolve_config(config, env.reward_threshold, reuse), policy


def _checked_reuse(spec: EnvSpec, in_this_process: bool, on_event: Callable[[Event], None]) -> EnvReuse:
    verdict = verdict_of(spec)
    why = verdict.why_not_reproducible(os.environ.get("PYTHONHASHSEED") if in_this_process else "0")
    if why is not None:
        on_event(NotReproducible(why))
    if verdict.details is not None:
        on_event(EnvNotChecked(verdict.details))
    return verdict.env_reuse
