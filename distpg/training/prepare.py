"""From what a user asked for to what is run: the environment is looked at, and nothing stays ``auto``."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from distpg.config.train_config import TrainConfig, resolve_config
from distpg.core.events import EnvNotChecked, Event, NotReproducible
from distpg.core.policies import PolicySpec
from distpg.environments.envs import EnvInfo, env_spec, inspect_env
from distpg.environments.reproducibility import Verdict, verdict_of
from distpg.errors import ConfigError
from distpg.kernels.compile_cache import do_without_cache
from distpg.runs.directory import load_run_config

_MAX_FEATURES = 100_000


@dataclass(frozen=True)
class Prepared:
    """A configuration that can be run.

    Attributes:
        config: Without ``auto``, but for the number of runners.
        events: What was found out about the environment.
    """

    config: TrainConfig
    env: EnvInfo
    policy: PolicySpec
    events: tuple[Event, ...] = ()

    @property
    def why_not(self) -> str | None:
        """Why a run of it is not reproducible; None as far as is known."""
        return next((event.why_not for event in self.events if event.why_not is not None), None)


def prepare(config: TrainConfig) -> Prepared:
    """Look at the environment, and decide what the configuration leaves open.

    Whether it is reproducible is checked only where ``env_reuse`` is ``auto``, so never again for a run that
    has begun.

    Raises:
        ConfigError: The environment is not there, or does not suit the policy.
    """
    if config.record_dispatch is not None:  # absolute: an environment may change the working directory
        config = replace(config, record_dispatch=str(Path(config.record_dispatch).absolute()))
    if not config.compile_cache:
        do_without_cache()
    spec = env_spec(config)
    env = inspect_env(spec)
    policy = policy_spec(config, env.observation_size, env.num_actions)
    verdict = verdict_of(spec) if config.env_reuse == "auto" else Verdict()
    resolved = resolve_config(config, env.reward_threshold, verdict.env_reuse)
    runners_hash_seed = os.environ.get("PYTHONHASHSEED") if config.num_env_runners == 0 else "0"
    why = verdict.why_not_reproducible(runners_hash_seed)
    events: list[Event] = [] if why is None else [NotReproducible(why)]
    if verdict.details is not None:
        events.append(EnvNotChecked(verdict.details))
    return Prepared(resolved, env, policy, tuple(events))


def prepared_run(run: Path) -> Prepared:
    """What a run was prepared to (RunDirectoryError: this is not a run directory; else as prepare)."""
    return prepare(load_run_config(run))


def policy_spec(config: TrainConfig, observation_size: int, num_actions: int) -> PolicySpec:
    """The policy that a configuration asks for (ConfigError: a polynomial would have too many terms)."""
    if config.policy == "mlp":
        return PolicySpec(observation_size, num_actions, config.hidden_sizes)
    degree = config.degree if config.policy == "polynomial" else 1
    spec = PolicySpec(observation_size, num_actions, degree=degree)
    if degree > 1 and spec.num_features > _MAX_FEATURES:
        raise ConfigError(
            f"a polynomial of degree {degree} in {observation_size} numbers has {spec.num_features:,} terms",
            f"Lower --degree until there are at most {_MAX_FEATURES:,}, or use --policy mlp.",
        )
    return spec
