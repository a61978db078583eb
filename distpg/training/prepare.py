"""From what a user asked for to what is run: the environment is looked at, and nothing stays ``auto``."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from distpg.config.train_config import TrainConfig, resolve_config
from distpg.core.events import Advice, EnvNotChecked, Event, NotReproducible
from distpg.core.policies import PolicySpec
from distpg.environments.contract import FirstLook, first_look
from distpg.environments.envs import EnvInfo, env_spec
from distpg.environments.registration import UNCHECKED, is_registered_here_alone, not_for_runners
from distpg.environments.reproducibility import Verdict, known_verdict, verdict_of
from distpg.errors import ConfigError
from distpg.kernels.compile_cache import do_without_cache
from distpg.runs.directory import load_run_config

_MAX_FEATURES = 100_000
# 4 GB as float32; the learner holds some four times as much.
_MAX_WEIGHTS = 10**9


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
    policy = policy_spec(config, env.observation_size, env.num_actions)
    verdict = _verdict(config, look)
    if look.step_s == 0 and "unchecked" not in verdict.causes:
        look = first_look(spec, timeout_s)
    resolved = resolve_config(config, env.reward_threshold, verdict.env_reuse)
    runners_hash_seed = os.environ.get("PYTHONHASHSEED") if config.num_env_runners == 0 else "0"
    why = verdict.why_not_reproducible(runners_hash_seed)
    events: list[Event] = [] if why is None else [NotReproducible(why)]
    if verdict.details is not None:
        events.append(EnvNotChecked(verdict.details))
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
    if asks and (known := known_verdict(spec, look.origin)) is not None:
        return known  # other processes have played it
    if (asks or is_for_runners) and is_registered_here_alone(spec.env_id, look.origin):
        if is_for_runners:
            raise not_for_runners(spec.env_id)
        return Verdict(("unchecked",), UNCHECKED) if asks else Verdict()
    return verdict_of(spec, look) if asks else Verdict()


def prepared_run(run: Path) -> Prepared:
    """What a run was prepared to (RunDirectoryError: this is not a run directory; else as prepare)."""
    return prepare(load_run_config(run))


def policy_spec(config: TrainConfig, observation_size: int, num_actions: int) -> PolicySpec:
    """The policy that a configuration asks for (ConfigError: it would have too many terms or weights)."""
    degree = config.degree if config.policy == "polynomial" else 1
    hidden_sizes = config.hidden_sizes if config.policy == "mlp" else ()
    spec = PolicySpec(observation_size, num_actions, hidden_sizes, degree)
    if degree > 1 and spec.num_features > _MAX_FEATURES:
        raise ConfigError(
            f"a polynomial of degree {degree} in {observation_size} numbers has {spec.num_features:,} terms",
            f"Lower --degree until there are at most {_MAX_FEATURES:,}, or use --policy mlp.",
        )
    if spec.num_weights > _MAX_WEIGHTS:
        shape = " to ".join(f"{size:,}" for size in spec.layer_sizes)
        raise ConfigError(
            f"a policy from {shape} numbers would have {spec.num_weights:,} weights",
            f"At most {_MAX_WEIGHTS:,} are possible: make observations or --hidden-sizes smaller.",
        )
    return spec
