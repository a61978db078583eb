"""TrainConfig: one frozen dataclass is the whole configuration of a run."""

from __future__ import annotations

import functools
import json
import typing
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from distpg.config.option_types import (
    Range,
    check_range,
    check_type,
    expand_home,
    option_name,
)
from distpg.core.seeding import MAX_SEED
from distpg.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run does.

    Raises:
        ConfigError: A value is out of its range, or two options contradict each other.
    """

    env_id: str = "CartPole-v1"
    """Gymnasium environment id, or module:EnvId for one of your own"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, as JSON"""
    seed: int = 0
    """Seed of everything random in the run"""
    num_env_runners: int | Literal["auto"] = "auto"
    """Ray actors that collect episodes; 0: collect in this process, without Ray"""
    min_env_runners: int = 1
    """Start training once this many runners are up; the others join later"""
    cpus_per_env_runner: float = 1.0
    """CPUs a runner asks Ray for on a cluster given by --address; fractions allowed"""
    address: str | None = None
    """Ray cluster to attach to ("auto": the one this machine belongs to); default: a new one here"""
    episodes_per_iteration: int = 4
    """Complete episodes that one update is computed from"""
    episodes_per_task: int | Literal["auto"] = "auto"
    """Episodes that a runner plays side by side; auto: one 64th of an iteration, 1 to 64"""
    baseline: Literal["none", "episode", "batch", "timestep", "value"] = "timestep"
    """What is subtracted from the returns: means over the same episode, over other episodes, over other
    episodes at the same step, or a learnt value function"""
    returns: Literal["to-go", "total"] = "to-go"
    """Return that weights a step: from that step on, or of the whole episode"""
    gamma: float = 0.99
    """Discount per step"""
    discount_weighting: bool = False
    """Weight step t by gamma^t: no bias with reward-to-go, but late steps hardly count"""
    normalise_advantages: Literal["none", "rms", "standardise"] = "rms"
    """Scaling of returns minus baseline, over the steps of an iteration"""
    entropy_coef: float = 0.0
    """Reward for a random policy: its weight beside the advantages"""
    max_grad_norm: float | None = None
    """Scale the gradient down to this Euclidean norm where it is longer"""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Rule that turns gradients into steps"""
    lr: float = 0.02
    """Learning rate"""
    adam_eps: float = 1e-8
    """What Adam adds to its divisor"""
    policy_lag: int = 0
    """Updates by which the weights that play an iteration are behind those that learn from it: runners play
    on while the learner waits for a long episode"""
    ratio_clip: float = 1.0
    """Limit of the ratio of new to old probability that weights a step where the policy lags"""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Course of the learning rate; linear: down to 0 at --lr-decay-env-steps"""
    lr_decay_env_steps: int | None = None
    """Environment steps after which a linear schedule has reached 0"""
    value_lr: float = 0.01
    """Learning rate of the value function (Adam)"""
    value_updates: int = 10
    """Steps an iteration towards the value function that fits its returns"""
    policy: Literal["linear", "polynomial", "mlp"] = "mlp"
    """What maps an observation to the softmax policy's action preferences"""
    degree: int = 2
    """Degree of a polynomial policy"""
    hidden_sizes: tuple[int, ...] = (128,)
    """Widths of the hidden layers of policy and value network"""
    sampler: Literal["auto", "gymnasium"] = "auto"
    """How a runner plays episodes"""
    stop_return: float | Literal["auto"] | None = "auto"
    """Stop when the last 100 episodes average this; auto: the environment's reward threshold"""
    max_env_steps: int | Literal["auto"] | None = "auto"
    """Stop after this many environment steps; auto: 1000000, or none with --max-iterations"""
    max_iterations: int | None = None
    """Stop after this many iterations"""
    max_episode_steps: int | None = None
    """Cut episodes at this many steps; default: the environment's own limit"""
    run_dir: str | None = None
    """Directory for results; default: a new runs/<env>-<seed>-<time>"""
    checkpoint_every: int = 50
    """Iterations between checkpoints; 0: only at the end"""
    keep_checkpoints: int = 3
    """Latest checkpoints that are kept, beside the first and the best"""
    sample_timeout_s: float = 20.0
    """A runner that makes no step for so many seconds hangs, and is replaced"""
    env_start_timeout_s: float = 60.0
    """Seconds that a new runner may take until it is ready"""
    max_task_retries: int = 3
    """Runners that a task may kill before it is searched for the episode that kills"""
    recycle_runner_after: int | None = None
    """Replace a runner after so many episodes, for simulators that leak memory"""
    audit_every: int = 1000
    """Play about one task in so many twice and compare; 0: none"""
    allow_mixed: bool = False
    """Use runners whose arithmetic differs from this machine's, instead of refusing them"""
    env_reuse: Literal["auto", "always", "task", "episode"] = "auto"
    """Make environments once, or anew for each task or episode; auto: as rarely as nothing changes by it"""
    compile_cache: bool = True
    """Whether compiled code is kept in the user's cache directory, for the next start"""
    record_dispatch: str | None = None
    """File for all that is told to and ordered by whoever hands out the tasks, to be replayed after a hang"""
    learner_threads: int = 1
    """Threads of the gradient computation; they help with wide layers and many thousand steps an iteration"""

    def __post_init__(self) -> None:
        for option in fields(self):
            check_type(option.name, getattr(self, option.name), _types()[option.name])
        # Lists come from YAML and JSON; numbers from either may lack their decimal point.
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if self.run_dir is not None:
            object.__setattr__(self, "run_dir", expand_home(self.run_dir))
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                check_range(name, number, allowed)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.baseline == "episode" and self.returns == "total":
            raise ConfigError(
                "--baseline episode with --returns total makes every weight 0: nothing would be learnt",
                "Use --returns to-go, or another --baseline.",
            )
        if self.discount_weighting and self.returns == "total":
            raise ConfigError(
                "--discount-weighting with --returns total would discount twice",
                "Use --returns to-go, or leave --discount-weighting out.",
            )
        if (self.lr_schedule == "linear") != (self.lr_decay_env_steps is not None):
            raise ConfigError(
                "--lr-schedule linear and --lr-decay-env-steps go together",
                "Give both, or neither for a constant learning rate.",
            )
        if self.num_env_runners == 0 and self.address is not None:
            raise ConfigError(
                "--num-env-runners 0 collects in this process, so --address has no meaning",
                "Leave --address out, or ask for at least one runner.",
            )
        if isinstance(self.num_env_runners, int) and 0 < self.num_env_runners < self.min_env_runners:
            raise ConfigError(
                f"--min-env-runners cannot be more than --num-env-runners, {self.num_env_runners}",
                "Lower --min-env-runners.",
            )


# Counts beyond 2^53 are not exact in JSON; lengths of episodes are 32-bit.
_COUNT = Range(1, 2**53)
_POSITIVE = Range(0, above=True)
# Of every option that holds numbers; a test sees to it that none is forgotten.
RANGES = {
    "seed": Range(0, MAX_SEED),
    "num_env_runners": Range(0, 100_000),
    "min_env_runners": Range(1, 100_000),
    "cpus_per_env_runner": Range(0, 100_000, above=True),
    "episodes_per_iteration": Range(1, 2**31 - 1),
    "episodes_per_task": Range(1, 2**20),
    "gamma": Range(0, 1),
    "entropy_coef": Range(0),
    "max_grad_norm": _POSITIVE,
    "policy_lag": Range(0, 64),
    "ratio_clip": _POSITIVE,
    "lr": _POSITIVE,
    "adam_eps": _POSITIVE,
    "lr_decay_env_steps": _COUNT,
    "value_lr": _POSITIVE,
    "value_updates": Range(1, 10_000),
    "degree": Range(1, 20),
    "hidden_sizes": Range(1, 2**20),
    "stop_return": Range(None),
    "max_env_steps": _COUNT,
    "max_iterations": _COUNT,
    "max_episode_steps": Range(1, 2**31 - 1),
    "checkpoint_every": Range(0, 2**53),
    "keep_checkpoints": _COUNT,
    "sample_timeout_s": _POSITIVE,
    "env_start_timeout_s": _POSITIVE,
    "max_task_retries": Range(0, 100),
    "recycle_runner_after": _COUNT,
    "audit_every": Range(0, 2**53),
    "learner_threads": Range(1, 1024),
}


@functools.cache
def _types() -> dict[str, Any]:
    return typing.get_type_hints(TrainConfig)


# What cannot change the result, and so may be changed when a run is resumed.
_FREE = frozenset(
    {
        *("num_env_runners", "min_env_runners", "cpus_per_env_runner", "address"),
        *("sample_timeout_s", "env_start_timeout_s", "max_task_retries", "recycle_runner_after"),
        *("audit_every", "allow_mixed", "checkpoint_every", "keep_checkpoints", "run_dir"),
        *("compile_cache", "learner_threads", "record_dispatch"),
    }
)
# What says how far a run goes. It may be raised: the iterations so far stay as they are.
_LIMITS = frozenset({"stop_return", "max_env_steps", "max_iterations"})


def deciding_options(config: TrainConfig) -> dict[str, Any]:
    """The options that decide what an iteration yields, as JSON holds them."""
    values: dict[str, Any] = json.loads(config_to_json(config))
    return {name: value for name, value in values.items() if name not in _FREE | _LIMITS}


def check_resumable(before: TrainConfig, now: TrainConfig) -> None:
    """Whether a run of configuration ``before`` can go on with ``now``.

    Raises:
        ConfigError: An option differs that decides the result, or a limit is lower than it was.
    """
    for option in fields(TrainConfig):
        old, new = getattr(before, option.name), getattr(now, option.name)
        name = option_name(option.name)
        if option.name in _FREE or old == new:
            continue
        if option.name not in _LIMITS:
            raise ConfigError(
                f"{name} cannot be changed by resume: the run has {old}, not {new}",
                "Leave it out, or start another run with `distpg train --config RUN/config.json`.",
            )
        if new == "auto" or old is None or (new is not None and new < old):
            raise ConfigError(
                f"{name} can only be raised by resume: the run has {old}, not {new}",
                "Leave it out, or give a higher limit or none.",
            )


def config_to_json(config: TrainConfig) -> str:
    """Strict JSON of every option but the run directory, which is where the file lies."""
    values = {option.name: getattr(config, option.name) for option in fields(config)}
    return json.dumps(values | {"run_dir": None}, indent=2, allow_nan=False) + "\n"


def automatic_episodes_per_task(episodes_per_iteration: int) -> int:
    """One 64th of an iteration, 1 to 64.

    From the configuration alone: the size decides which episodes share a forward pass, and so may not
    depend on how many runners there are.
    """
    return min(64, max(1, episodes_per_iteration // 64))


def resolve_config(
    config: TrainConfig,
    reward_threshold: float | None,
    env_reuse: Literal["always", "task", "episode"] = "always",
) -> TrainConfig:
    """``config`` with every ``auto`` that does not depend on the machine replaced by its value.

    Args:
        reward_threshold: What the environment calls solved.
        env_reuse: How the environment may be reused.
    """
    changes: dict[str, Any] = {}
    if config.episodes_per_task == "auto":
        changes["episodes_per_task"] = automatic_episodes_per_task(config.episodes_per_iteration)
    if config.stop_return == "auto":
        changes["stop_return"] = reward_threshold
    if config.max_env_steps == "auto":
        changes["max_env_steps"] = 1_000_000 if config.max_iterations is None else None
    if config.sampler == "auto":
        changes["sampler"] = "gymnasium"
    if config.env_reuse == "auto":
        changes["env_reuse"] = env_reuse
    return replace(config, **changes)


def automatic_num_env_runners(num_cpus: int, num_tasks: int) -> int:
    """Every CPU but one for the learner where there are more than two; no more than there are tasks."""
    return max(1, min(num_cpus - 1 if num_cpus > 2 else num_cpus, num_tasks))
