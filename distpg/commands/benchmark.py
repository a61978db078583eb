"""``distpg benchmark``."""

import contextlib
import dataclasses
import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from distpg.commands.display import one_line, runners_in_words
from distpg.commands.options import EnvOptions
from distpg.commands.parser import parse
from distpg.config.option_types import Range, describe_type, option_name, options_of
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError


@dataclass(frozen=True)
class BenchmarkOptions(EnvOptions):
    """Measure how many episodes a second runners play, and where the time goes.

    Every combination of the listed options is started by itself, warmed up and measured several times. All
    figures of a combination are those of its repetition with the median steps a second.
    """

    env_id: str = "CartPole-v1"
    """Gymnasium environment id, or module:EnvId; distpg/Sleep-v0 only waits"""
    num_env_runners: tuple[int, ...] = (1, 2)
    """Numbers of runners; 0: in this process, without Ray"""
    episodes_per_iteration: tuple[int, ...] = (64,)
    """Batch sizes, in episodes"""
    episodes_per_task: int | Literal["auto"] = "auto"
    """Episodes that a runner plays side by side; auto: one 64th of an iteration, 1 to 64"""
    policy_lag: tuple[int, ...] = (0,)
    """Policy lags: updates by which the behaviour policy is behind"""
    sampler: tuple[Literal["auto", "gymnasium", "compiled"], ...] = ("auto",)
    """Samplers"""
    gradients: tuple[Literal["learner", "runners"], ...] = ("learner",)
    """Where gradients are computed; it takes --train to see it"""
    train: bool = False
    """Update the weights after each iteration; otherwise all play with the initial ones"""
    repetitions: Annotated[int, Range(1)] = 5
    """Measurements of each combination"""
    iterations: Annotated[int | None, Range(1)] = None
    """Iterations of a measurement, the same episodes for all; default: about a second of the first"""
    policy: Literal["linear", "polynomial", "mlp"] = "mlp"
    """Softmax policy: linear in the observation, in its polynomial features, or a multilayer perceptron"""
    hidden_sizes: tuple[int, ...] = (128,)
    """Hidden layer widths of the policy"""
    seed: int = 0
    """Random seed"""
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
        options = {
            option.name: getattr(self, option.name)
            for option in dataclasses.fields(TrainConfig)
            if hasattr(self, option.name)
        }
        listed = ("sampler", "gradients", "episodes_per_iteration", "policy_lag", "num_env_runners")
        for name in listed:
            if not options[name]:
                takes = describe_type(options_of(BenchmarkOptions)[name].type)
                raise ConfigError(f"{option_name(name)} needs a value", f"It takes {takes}.")
        return [
            # All runners are there before anything is measured.
            TrainConfig(
                **{**options, **dict(zip(listed, values, strict=True))}, min_env_runners=max(1, values[-1])
            )
            for values in itertools.product(*(dict.fromkeys(options[name]) for name in listed))
        ]


def run(arguments: list[str]) -> int:
    """Measure, and print a JSON line for each combination or the tables of all."""
    options = parse(BenchmarkOptions(), "distpg benchmark", arguments)
    configs = options.configurations()

    from distpg.commands.benchmark_report import check_plot_path, print_report, write_plot
    from distpg.system.hardware import hardware_line
    from distpg.system.streams import own_stdout
    from distpg.training.throughput import as_json, benchmark, sizes_in_words

    # Absolute before there is an environment, which may change the working directory.
    plot = Path(options.plot).absolute() if options.plot else None
    if plot is not None:
        check_plot_path(plot)

    def say(line: str) -> None:
        if not options.quiet:
            print(one_line(line), file=sys.stderr, flush=True)

    started = itertools.count(1)
    measured = []
    # Environments print; JSON lines are alone all the same.
    with own_stdout() if options.json else contextlib.nullcontext(sys.stdout) as out:
        results = benchmark(
            configs,
            options.train,
            options.repetitions,
            options.iterations,
            on_start=lambda config: say(
                f"{next(started)} of {len(configs)}: "
                f"{runners_in_words(config.num_env_runners)}, {sizes_in_words(config)}"
            ),
            on_event=lambda event: None if event.is_routine else say(str(event)),
        )
        with contextlib.closing(results):
            for one in results:
                measured.append(one)
                if options.json:
                    print(json.dumps(as_json(one), allow_nan=False), file=out, flush=True)
    if plot is not None:
        write_plot(measured, plot)
    if options.json:
        say(hardware_line())
    elif not options.quiet:
        print_report(measured)
    return 0
