"""Between the ``tyro`` parser and our own conventions: JSON options, and errors as one line and a hint."""

from __future__ import annotations

import dataclasses
import itertools
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NoReturn, TypeVar

import tyro
from tyro import _errors as parse_errors

from distpg.config import TrainConfig
from distpg.errors import ConfigError
from distpg.option_types import describe_type, expand_home, option_name


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

# Options and arguments that are paths, beside those of TrainConfig.
_PATHS = frozenset({"run", "runs", "config", "video", "output", "plot"})

OptionsT = TypeVar("OptionsT")


def parse(
    defaults: OptionsT, program: str, arguments: Sequence[str], ignore_others: bool = False
) -> OptionsT:
    """The command line as a copy of the dataclass instance ``defaults``, with ``~`` expanded in paths.

    Raises:
        ConfigError: An option is unknown, lacks its value, or has a wrong one.
        SystemExit: After ``--help``.
    """
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_json_object_rule)
    registry.primitive_rule(_none_rule)
    options = type(defaults)
    with parse_errors.on_parse_error(lambda event: _raise_config_error(event, options)):
        # Its overloads distinguish calls by literals.
        cli: Any = tyro.cli
        parsed = cli(
            options,
            default=defaults,
            prog=program,
            args=arguments,
            registry=registry,
            add_help=not ignore_others,
            return_unknown_args=ignore_others,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    result = parsed[0] if ignore_others else parsed
    paths = {name: _expanded(value) for name, value in vars(result).items() if name in _PATHS}
    expanded: OptionsT = dataclasses.replace(result, **paths)
    return expanded


def _expanded(paths: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    if isinstance(paths, tuple):
        return tuple(map(expand_home, paths))
    return None if paths is None else expand_home(paths)


def _json_object_rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Options of type ``dict`` are written as one JSON object."""
    if typing.get_origin(info.type) is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda strings: _json_object(strings[0]),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


def _none_rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """``none``, as the other words on the command line are written."""
    if info.type is not type(None):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda strings: _none(strings[0]),
        is_instance=lambda value: value is None,
        str_from_instance=lambda _: ["none"],
    )


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(f"{text} is not none")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


def _raise_config_error(event: parse_errors.ParseErrorEvent, options: type[Any]) -> NoReturn:
    """Turn a parser's complaint into ours.

    Raises:
        ConfigError: Always.
    """
    types = _option_types(options)
    if isinstance(event, parse_errors.UnrecognizedArgs):
        raise _unknown(event.tokens[0], list(types))
    argument = getattr(event, "argument", None)
    if argument is None:
        message = getattr(event, "message", type(event).__name__)
        raise ConfigError(f"the command line is wrong: {message}", f"See {event.prog} --help.")
    name = "--" + argument.display_name().lstrip("-")
    takes = f"It takes {describe_type(types[name])}." if name in types else f"See {event.prog} --help."
    if isinstance(event, parse_errors.InvalidChoice):
        raise ConfigError(f"{name} cannot be {event.value!r}", takes)
    if isinstance(event, parse_errors.BadValue):
        raise ConfigError(f"{name} needs a value", takes)
    message = getattr(event, "message", "").split("\n")[0].rstrip(".")
    raise ConfigError(f"{name} has a wrong value: {message}", takes)


def _option_types(options: type[Any]) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for name, expected in typing.get_type_hints(options).items():
        if dataclasses.is_dataclass(expected):
            types |= _option_types(typing.cast("type[Any]", expected))
        else:
            types[option_name(name)] = expected
    return types


def _unknown(token: str, known: list[str]) -> ConfigError:
    if not token.startswith("-"):
        return ConfigError(f"unexpected argument {token!r}", "Options are written --name value.")
    option = token.split("=")[0]
    close = get_close_matches(option, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else "--help lists the options."
    return ConfigError(f"there is no option {option}", hint)
