"""TrainConfig: one frozen dataclass is the whole configuration of a run."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from distpg.config.given import given, in_json
from distpg.config.option_types import (
    FREE,
    LIMIT,
    OnResume,
    Range,
    check_option,
    expand_home,
    option_name,
    options_of,
)
from distpg.core.seeding import MAX_SEED
from distpg.errors import ConfigError

_POSITIVE = Range(0, above=True)
# Counts beyond 2^53 are not exact in JSON; lengths of episodes are 32-bit.
_NATURAL = Range(0, 2**53)
_COUNT = Range(1, 2**53)
_LENGTH = Range(1, 2**31 - 1)

POLICIES = ("linear", "polynomial", "mlp", "cnn")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run does.

    Raises:
        ConfigError: A value is out of its range, or two options contradict each other.
    """

    env_id: str | Callable[..., Any] = "CartPole-v1"
    """Gymnasium environment id, module:EnvId, or module:factory; from Python a class or function too"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON"""
    env_number_kwarg: str | None = None
    """Keyword argument that gets a number of its own in each environment: for ports, displays, files"""
    wrappers: tuple[str | Callable[..., Any], ...] = ()
    """Functions module:name from an environment to another, the innermost first"""
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    """Random seed: the same one gives the same weights"""
    num_env_runners: Annotated[int | Literal["auto"], Range(0, 100_000), FREE] = "auto"
    """EnvRunners (Ray actors) that collect episodes; 0: collect in this process, without Ray"""
    min_env_runners: Annotated[int, Range(1, 100_000), FREE] = 1
    """Start training once this many runners are up; the others join later"""
    cpus_per_env_runner: Annotated[float, Range(0, 100_000, above=True), FREE] = 1.0
    """CPUs a runner asks Ray for on a cluster given by --address; fractions allowed"""
    address: Annotated[str | None, FREE] = None
    """Ray cluster to attach to ("auto": the one this machine belongs to); default: a new one here"""
    episodes_per_iteration: Annotated[int, _LENGTH] = 4
    """Batch size: complete episodes that one gradient step is computed from"""
    episodes_per_task: Annotated[int | Literal["auto"], Range(1, 2**20)] = "auto"
    """Episodes that a runner plays side by side; auto: one 64th of an iteration, 1 to 64"""
    baseline: Literal["none", "episode", "batch", "timestep", "value"] = "timestep"
    """Baseline: mean return of the episode, of the batch's others, of theirs at the same timestep, or V(s)"""
    returns: Literal["to-go", "total"] = "to-go"
    """Return that weights a step's score function: reward-to-go, or the episode's total"""
    gamma: Annotated[float, Range(0, 1)] = 0.99
    """Discount factor"""
    discount_weighting: bool = False
    """Weight step t by gamma^t: no bias with reward-to-go, but late steps hardly count"""
    normalise_advantages: Literal["none", "rms", "standardise"] = "rms"
    """Advantage normalisation over a batch's steps: divide by their root mean square, or standardise"""
    normalise_returns: Literal["none", "running"] = "none"
    """Return normalisation: divide by the running deviation of the returns of earlier iterations"""
    entropy_coef: Annotated[float, Range(0)] = 0.0
    """Coefficient of the entropy bonus"""
    max_grad_norm: Annotated[float | None, _POSITIVE] = None
    """Gradient clipping by global norm (Euclidean)"""
    max_kl: Annotated[float | None, _POSITIVE] = 0.05
    """Trust region: an update is shortened to at most this mean divergence of the policy, in nats"""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Optimiser of the policy"""
    lr: Annotated[float, _POSITIVE] = 0.005
    """Learning rate (step size)"""
    adam_eps: Annotated[float, _POSITIVE] = 1e-8
    """Adam's epsilon"""
    policy_lag: Annotated[int, Range(0, 64)] = 0
    """Updates by which the behaviour policy lags: runners play on while the learner awaits a long episode"""
    ratio_clip: Annotated[float, _POSITIVE] = 1.0
    """Importance ratio clip (truncated importance sampling) where the behaviour policy lags"""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Learning rate schedule; linear: decays to 0 at --lr-decay-env-steps"""
    lr_decay_env_steps: Annotated[int | None, _COUNT] = None
    """Environment steps after which a linear learning rate schedule has reached 0"""
    gae_lambda: Annotated[float | None, Range(0, 1)] = None
    """Generalised advantage estimation with --baseline value: its lambda; none: returns minus V(s)"""
    entropy_schedule: Literal["constant", "linear"] = "constant"
    """Entropy bonus schedule; linear: its coefficient decays to 0 at --entropy-decay-env-steps"""
    entropy_decay_env_steps: Annotated[int | None, _COUNT] = None
    """Environment steps after which a linear entropy schedule has reached 0"""
    value_lr: Annotated[float, _POSITIVE] = 0.01
    """Learning rate of the value function (Adam)"""
    value_updates: Annotated[int, Range(1, 10_000)] = 10
    """Passes over a batch that regress the value function on the returns"""
    value_minibatch_size: Annotated[int | None, _COUNT] = None
    """Environment steps of each gradient step of the value function; default: the whole batch"""
    policy: str | Callable[..., Any] = "mlp"
    """linear in the observation, polynomial features of it, mlp, cnn for images, or module:factory"""
    degree: Annotated[int, Range(1, 20)] = 2
    """Degree of the polynomial features"""
    hidden_sizes: Annotated[tuple[int, ...], Range(1, 2**20)] = (128,)
    """Hidden layer widths of policy and value network"""
    action_bounds: Literal["clip", "tanh"] = "clip"
    """Numbers as actions: drawn from a normal distribution and clipped to the bounds, or their tanh"""
    action_mask: Literal["auto", "info", "observation", "none"] = "auto"
    """Where action_mask says which actions are legal: in info, in a Dict observation, or nowhere"""
    drop_observations: tuple[str, ...] = ()
    """Parts of a Dict observation that the policy does not see"""
    normalise_observations: Literal["auto", "none", "bounds", "running"] = "auto"
    """Observation normalisation: by the space's bounds, or by the running mean and deviation"""
    sampler: Literal["auto", "gymnasium", "compiled"] = "auto"
    """How a runner plays episodes; auto: compiled where environment and policy are made for it"""
    gradients: Literal["learner", "runners"] = "learner"
    """Where gradients are computed; runners: in two passes over episodes that stay where they were played"""
    evaluate_every: Annotated[int, _NATURAL] = 0
    """Iterations between evaluations of the greedy policy, by which the best checkpoint is known; 0: none"""
    evaluation_episodes: Annotated[int, _LENGTH] = 20
    """Episodes of each of them, none of which is trained on"""
    stop_return: Annotated[float | Literal["auto"] | None, Range(None), LIMIT] = "auto"
    """Stop when the last 100 episodes average this; auto: the environment's reward threshold"""
    max_env_steps: Annotated[int | Literal["auto"] | None, _COUNT, LIMIT] = "auto"
    """Stop after this many environment steps; auto: 1000000, or none with --max-iterations"""
    max_iterations: Annotated[int | None, _COUNT, LIMIT] = None
    """Stop after this many iterations"""
    max_episode_steps: Annotated[int | None, _LENGTH] = None
    """Time limit: truncate episodes at this many steps; default: the environment's own limit"""
    run_dir: Annotated[str | None, FREE] = None
    """Directory for results; default: a new runs/<env>-<seed>-<time>"""
    checkpoint_every: Annotated[int, _NATURAL, FREE] = 50
    """Iterations between checkpoints; 0: only at the end"""
    keep_checkpoints: Annotated[int, _COUNT, FREE] = 3
    """Latest checkpoints that are kept, beside the first and the best"""
    sample_timeout_s: Annotated[float, _POSITIVE, FREE] = 20.0
    """A runner that makes no step for so many seconds hangs, and is replaced"""
    env_start_timeout_s: Annotated[float, _POSITIVE, FREE] = 60.0
    """Seconds that an environment may take to be made at first, and a new runner until it is ready"""
    max_task_retries: Annotated[int, Range(0, 100), FREE] = 3
    """Runners that a task may kill before it is searched for the episode that kills"""
    recycle_runner_after: Annotated[int | None, _COUNT, FREE] = None
    """Replace a runner after so many episodes, for simulators that leak memory"""
    audit_every: Annotated[int, _NATURAL, FREE] = 1000
    """Play about one task in so many twice and compare; 0: none"""
    allow_mixed: Annotated[bool, FREE] = False
    """Use runners whose arithmetic differs from this machine's, instead of refusing them"""
    env_reuse: Literal["auto", "always", "episode", "seeded"] = "auto"
    """Reset environments for each episode, make them anew, or play one by one with random and numpy.random
    seeded at each reset; auto: as it takes for the environment to be reproducible"""
    compile_cache: Annotated[bool, FREE] = True
    """Compiled code is kept in the user's cache directory for the next start, unless --no-compile-cache"""
    record_dispatch: Annotated[str | None, FREE] = None
    """File for all that the dispatcher of tasks is told and orders, to be replayed after a hang"""
    learner_threads: Annotated[int, Range(1, 1024), FREE] = 1
    """Threads of the gradient computation; they help with wide layers and many thousand steps an iteration"""

    def __post_init__(self) -> None:
        for name, option in options_of(TrainConfig).items():
            check_option(name, getattr(self, name), option)
        object.__setattr__(self, "env_id", given(self.env_id))
        object.__setattr__(self, "policy", given(self.policy))
        object.__setattr__(self, "wrappers", tuple(map(given, self.wrappers)))
        # Lists come from YAML and JSON.
        for name in ("hidden_sizes", "drop_observations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("run_dir", "record_dispatch"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, expand_home(path))
        self._check_combinations()

    def _check_combinations(self) -> None:
        if str(self.policy) not in POLICIES and ":" not in str(self.policy):
            raise ConfigError(
                f"--policy cannot be {self.policy!r}",
                f"It takes {', '.join(POLICIES)}, or module:factory of a torch module of your own.",
            )
        if nameless := [name for name in self.wrappers if ":" not in str(name)]:
            raise ConfigError(
                f"--wrappers cannot be {nameless[0]!r}", "It takes module:function of each, innermost first."
            )
        if self.baseline == "episode" and self.returns == "total":
            raise ConfigError(
                "--baseline episode with --returns total makes every weight 0: nothing would be learnt",
                "Use --returns to-go, or another --baseline.",
            )
        if self.gradients == "runners" and self.baseline == "value":
            raise ConfigError(
                "--gradients runners cannot fit --baseline value, which needs the episodes in one place",
                "Use another --baseline, timestep for instance, or --gradients learner.",
            )
        if self.gae_lambda is not None and (self.baseline != "value" or self.returns != "to-go"):
            raise ConfigError(
                "--gae-lambda needs --baseline value and --returns to-go",
                "Give them, or leave --gae-lambda out.",
            )
        if self.value_minibatch_size is not None and self.baseline != "value":
            raise ConfigError(
                "--value-minibatch-size needs --baseline value",
                "Give it, or leave --value-minibatch-size out.",
            )
        if self.entropy_schedule == "linear" and self.entropy_coef == 0:
            raise ConfigError(
                "--entropy-schedule linear needs an --entropy-coef, from which it decays",
                "Give it, or leave --entropy-schedule out.",
            )
        if self.discount_weighting and self.returns == "total":
            raise ConfigError(
                "--discount-weighting with --returns total would discount twice",
                "Use --returns to-go, or leave --discount-weighting out.",
            )
        for kind, schedule, steps, what in (
            ("lr", self.lr_schedule, self.lr_decay_env_steps, "learning rate"),
            ("entropy", self.entropy_schedule, self.entropy_decay_env_steps, "coefficient"),
        ):
            if (schedule == "linear") != (steps is not None):
                raise ConfigError(
                    f"--{kind}-schedule linear and --{kind}-decay-env-steps go together",
                    f"Give both, or neither for a constant {what}.",
                )
        if self.num_env_runners == 0 and self.address is not None:
            raise ConfigError(
                "--num-env-runners 0 collects in this process, so --address has no meaning",
                "Leave --address out, or ask for at least one runner.",
            )
        if self.num_env_runners == 0 and self.record_dispatch is not None:
            raise ConfigError(
                "--num-env-runners 0 dispatches nothing, so --record-dispatch has no meaning",
                "Leave it out, or ask for at least one runner.",
            )
        if isinstance(self.num_env_runners, int) and 0 < self.num_env_runners < self.min_env_runners:
            raise ConfigError(
                f"--min-env-runners cannot be more than --num-env-runners, {self.num_env_runners}",
                "Lower --min-env-runners.",
            )


def deciding_options(config: TrainConfig) -> dict[str, Any]:
    """The options that decide what an iteration yields, as JSON holds them."""
    values: dict[str, Any] = json.loads(config_to_json(config))
    decides = {name for name, option in options_of(TrainConfig).items() if option.on_resume is OnResume.FIXED}
    return {name: value for name, value in values.items() if name in decides}


def check_resumable(before: TrainConfig, now: TrainConfig) -> None:
    """Whether a run of configuration ``before`` can go on with ``now``.

    Raises:
        ConfigError: An option differs that decides the result, or a limit is lower than it was.
    """
    if now.run_dir != before.run_dir:
        raise ConfigError(
            "--run-dir cannot be changed by resume: a run stays in its directory",
            "Leave it out. A run may be moved as a whole, and resumed where it is then.",
        )
    for field_name, option in options_of(TrainConfig).items():
        old, new = _named(getattr(before, field_name)), _named(getattr(now, field_name))
        name = option_name(field_name)
        if option.on_resume is FREE or old == new:
            continue
        if option.on_resume is not LIMIT:
            raise ConfigError(
                f"{name} cannot be changed by resume: the run has {old}, not {new}",
                "Leave it out, or start another run with `distpg train --config RUN/config.json`.",
            )
        if new == "auto" or old is None or (new is not None and new < old):
            raise ConfigError(
                f"{name} can only be raised by resume: the run has {old}, not {new}",
                "Leave it out, or give a higher limit or none.",
            )


def _named(value: Any) -> Any:
    """A value with names for what only a program has, as files hold it."""
    return in_json(value) if isinstance(value, dict) else value


def config_to_json(config: TrainConfig) -> str:
    """Strict JSON of every option but the run directory, which is where the file lies."""
    values = {option.name: getattr(config, option.name) for option in fields(config)}
    values |= {"run_dir": None, "env_kwargs": in_json(config.env_kwargs)}
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def automatic_episodes_per_task(episodes_per_iteration: int) -> int:
    """One 64th of an iteration, 1 to 64: of no runners' number, as it decides who shares a forward pass."""
    return min(64, max(1, episodes_per_iteration // 64))


def resolve_config(
    config: TrainConfig,
    reward_threshold: float | None,
    env_reuse: Literal["always", "episode", "seeded"] = "always",
    action_mask: str = "none",
    normalise_observations: str = "none",
) -> TrainConfig:
    """``config`` with every ``auto`` that does not depend on the machine replaced by its value.

    Args:
        reward_threshold: What the environment calls solved.
        env_reuse: How the environment may be reused.
        action_mask: Where it says which actions are legal.
        normalise_observations: What suits its observations.
    """
    automatic: dict[str, Any] = {
        "episodes_per_task": automatic_episodes_per_task(config.episodes_per_iteration),
        "stop_return": reward_threshold,
        "max_env_steps": 1_000_000 if config.max_iterations is None else None,
        "sampler": "gymnasium",
        "env_reuse": env_reuse,
        "action_mask": action_mask,
        "normalise_observations": normalise_observations,
    }
    return replace(
        config, **{name: value for name, value in automatic.items() if getattr(config, name) == "auto"}
    )


def automatic_num_env_runners(num_cpus: int, num_tasks: int) -> int:
    """Every CPU but one for the learner where there are more than two; no more than there are tasks."""
    return max(1, min(num_cpus - 1 if num_cpus > 2 else num_cpus, num_tasks))
