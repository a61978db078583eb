"""What each command takes: a dataclass a command."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

import tyro

from distpg.config.option_types import option_name
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError


@dataclass(frozen=True)
class Verbosity:
    """Options of every command."""

    quiet: bool = False
    """Print nothing but errors"""
    debug: bool = False
    """Show the traceback of an error"""


@dataclass(frozen=True)
class Origin:
    """Options that are read before the others, since they change their defaults."""

    preset: Literal["article", "cartpole"] | None = None
    """Start from the article's experiment, or from the defaults by their name"""
    config: str | None = None
    """YAML file of options, or a run's config.json, over the preset; options given here override both"""


@dataclass(frozen=True)
class TrainOptions(Verbosity, Origin):
    """Train a policy on complete episodes, until it is solved or a limit is reached."""

    training: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class ResumeOptions(Verbosity):
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Only what cannot change the result may be changed, and limits may be raised.
    """

    run: tyro.conf.Positional[str] = ""
    """Run directory"""
    training: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class EvaluateOptions(Verbosity):
    """Play episodes with a run's policy and report their mean return."""

    run: tyro.conf.Positional[str] = ""
    """Run directory"""
    num_episodes: int = 100
    """Episodes to play; none of them was trained on"""
    greedy: bool = False
    """Always the most probable action; this is the default"""
    sampled: bool = False
    """Draw actions from the policy, as in training"""
    checkpoint: str = "last"
    """Weights to use: last, best, or a checkpoint's number"""
    video: str | None = None
    """File for the first episode: .gif or .webp"""


@dataclass(frozen=True)
class ReplayOptions(Verbosity):
    """Play an episode of a run again, and compare it with the run's record of it."""

    run: tyro.conf.Positional[str] = ""
    """Run directory"""
    episode: int | None = None
    """Number of the episode, as in episodes.csv"""
    render: bool = False
    """Show the environment's own window"""
    video: str | None = None
    """File for the episode: .gif or .webp"""


@dataclass(frozen=True)
class PlotOptions(Verbosity):
    """Draw learning_curve.png and variance.png of one or more runs."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run directories"""
    output: str | None = None
    """Directory for the figures; default: the run's own, or for several runs the working directory"""


@dataclass(frozen=True)
class DoctorOptions(Verbosity):
    """Check this machine, and an environment if one is named, before a long run.

    Exit code 1 if something fails.
    """

    env_id: str | None = None
    """Environment to check: whether it is a function of its seed and actions, its speed, and the runners,
    tasks and iterations that suit it"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, as JSON"""
    max_episode_steps: int | None = None
    """Cut episodes at this many steps; default: the environment's own limit"""
    address: str | None = None
    """Ray cluster that must answer, and that the advice is for"""


@dataclass(frozen=True)
class BenchmarkOptions(Verbosity):
    """Measure how many episodes a second runners play, and where the time goes.

    Every combination of the listed options is started by itself, warmed up and measured several times. All
    figures of a combination are those of its repetition with the median steps a second.
    """

    env_id: str = "CartPole-v1"
    """Gymnasium environment id, or module:EnvId; distpg/Sleep-v0 only waits"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, as JSON"""
    max_episode_steps: int | None = None
    """Cut episodes at this many steps; default: the environment's own limit"""
    num_env_runners: tuple[int, ...] = (1, 2)
    """Numbers of runners; 0: in this process, without Ray"""
    episodes_per_iteration: tuple[int, ...] = (64,)
    """Sizes of an iteration, in episodes"""
    episodes_per_task: int | Literal["auto"] = "auto"
    """Episodes that a runner plays side by side; auto: one 64th of an iteration, 1 to 64"""
    policy_lag: tuple[int, ...] = (0,)
    """Policy lags"""
    sampler: tuple[Literal["auto", "gymnasium"], ...] = ("auto",)
    """Samplers"""
    train: bool = False
    """Update the weights after each iteration; otherwise all play with the initial ones"""
    repetitions: int = 5
    """Measurements of each combination"""
    iterations: int | None = None
    """Iterations of a measurement, the same episodes for all; default: about a second of the first"""
    policy: Literal["linear", "polynomial", "mlp"] = "mlp"
    """What maps an observation to the policy's action preferences"""
    hidden_sizes: tuple[int, ...] = (128,)
    """Widths of the policy's hidden layers"""
    seed: int = 0
    """Seed of everything random"""
    cpus_per_env_runner: float = 1.0
    """CPUs a runner asks Ray for on a cluster given by --address; fractions allowed"""
    address: str | None = None
    """Ray cluster to attach to; default: a new one here for each combination"""
    json: bool = False
    """Standard output has a JSON line for each combination, and nothing else; times are an iteration's"""
    plot: str | None = None
    """File for a figure of episodes a second against runners: .png, .pdf or .svg"""

    def configurations(self) -> list[TrainConfig]:
        """Every combination of the listed options, the number of runners varying fastest.

        Raises:
            ConfigError: A value is out of its range, or a list is empty.
        """
        for name in ("repetitions", "iterations"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ConfigError(f"{option_name(name)} must be at least 1, not {number}", _BENCHMARK_HELP)
        listed = ("sampler", "episodes_per_iteration", "policy_lag", "num_env_runners")
        for name in listed:
            if not getattr(self, name):
                raise ConfigError(f"{option_name(name)} needs a value", _BENCHMARK_HELP)
        common = {
            option.name: getattr(self, option.name)
            for option in dataclasses.fields(TrainConfig)
            if hasattr(self, option.name) and option.name not in listed
        }
        combinations = itertools.product(*(dict.fromkeys(getattr(self, name)) for name in listed))
        return [
            TrainConfig(
                **common,
                **dict(zip(listed, values, strict=True)),
                # All are there before anything is measured.
                min_env_runners=max(1, values[listed.index("num_env_runners")]),
            )
            for values in combinations
        ]


_BENCHMARK_HELP = "distpg benchmark --help lists its options with their defaults."
