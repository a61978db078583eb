"""The ``distpg`` command: one function a subcommand, loaded only when it is asked for."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.commands.options import (
    BenchmarkOptions,
    DoctorOptions,
    EvaluateOptions,
    Origin,
    PlotOptions,
    ReplayOptions,
    ResumeOptions,
    TrainOptions,
)
from distpg.commands.parser import parse
from distpg.config.files import load_config_file, preset
from distpg.config.option_types import expand_home
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError, DistpgError, RunDirectoryError
from distpg.runs.directory import load_run_config
from distpg.system.interrupts import Interrupts

if TYPE_CHECKING:
    from distpg.runs.results import Result

USAGE = """\
usage: distpg COMMAND [OPTION ...]

commands:
  train         train a policy; with no option: CartPole-v1, until solved
  resume RUN    go on with a run from its last checkpoint
  evaluate RUN  play episodes with a run's policy
  replay RUN    play an episode of a run again: --episode K
  plot RUN...   draw the learning curve and variance of one or more runs
  benchmark     measure how many episodes a second runners play: --num-env-runners 1 2 4
  doctor        check this machine, and whether an environment is reproducible: --env-id ID

distpg COMMAND --help lists its options with their defaults; --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 1 (failed), 2 (wrong input) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # So that --env-id module:EnvId finds a module of the working directory; last, so that it hides no other.
    sys.path.append(str(Path.cwd()))
    try:
        # From the first moment on: imports alone take a second, and SIGTERM would end the process silently.
        with Interrupts():
            return _run(arguments)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. That is not worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DistpgError as error:
        if "--debug" in arguments:
            raise
        _report(error.message, error.hint)
        return error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            raise
        _report(f"{type(error).__name__}: {error}", "This is a defect of distpg; --debug shows where it is.")
        return 1
    except KeyboardInterrupt:
        # If it came while code was run from a string (dataclasses do that), CPython remembers it, and would
        # end the process by SIGINT instead of with our exit code. Running any other string makes it forget.
        exec("")
        kept = "A run keeps everything up to its last completed update: distpg resume RUN."
        _report("interrupted", kept if arguments[:1] != ["benchmark"] else "Nothing of a benchmark is kept.")
        return 130


def _report(message: str, hint: str) -> None:
    print(f"error: {_one_line(message)}\nhint: {_one_line(hint)}", file=sys.stderr)


def _one_line(text: str) -> str:
    # What a user typed, or a file holds, must not reach the terminal as control characters.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(USAGE, end="", file=sys.stderr)
        return 2
    command, rest = arguments[0], arguments[1:]
    if command in ("-h", "--help"):
        print(USAGE, end="")
    elif command == "--version":
        from distpg.system.version import __version__

        print(f"distpg {__version__}")
    elif command in _COMMANDS:
        return _COMMANDS[command](rest) or 0
    else:
        close = get_close_matches(command, _COMMANDS, n=1)
        hint = f"Did you mean distpg {close[0]}?" if close else "distpg --help lists the commands."
        raise ConfigError(f"there is no command {command!r}", hint)
    return 0


def _train(arguments: list[str]) -> None:
    given = parse(Origin(), "distpg train", arguments, ignore_others=True)
    base = None if given.preset is None else preset(given.preset)
    if given.config is not None:
        base = load_config_file(given.config, base)
    options = parse(TrainOptions(training=base or TrainConfig()), "distpg train", arguments)

    from distpg.commands.display import make_display
    from distpg.training.trainer import Listeners, train

    with make_display(options.quiet) as display:
        result = train(options.training, Listeners(display.start, display.iteration, display.event))
    if not options.quiet:
        print(_summary(result))


def _resume(arguments: list[str]) -> None:
    run = _run_of(arguments)
    # The run's own options are the defaults: those not given stay as they were.
    base = TrainConfig() if run is None else load_run_config(run)
    options = parse(ResumeOptions(training=base), "distpg resume", arguments)
    _need_run(options.run, "resume")

    from distpg.commands.display import make_display
    from distpg.training.trainer import Listeners, resume

    changes = {
        option.name: value
        for option in fields(TrainConfig)
        if (value := getattr(options.training, option.name)) != getattr(base, option.name)
    }
    with make_display(options.quiet) as display:
        listeners = Listeners(display.start, display.iteration, display.event)
        result = resume(options.run, listeners, **changes)
    if not options.quiet:
        print(_summary(result))


def _run_of(arguments: list[str]) -> Path | None:
    """The run directory among the arguments, wherever it stands; None to let the parser complain."""
    words = [expand_home(word) for word in arguments if not word.startswith("-")]
    # Path.is_dir raises for names that are too long.
    found = [Path(word) for word in words if os.path.isdir(word)]  # noqa: PTH112
    return found[0] if found else None


def _need_run(run: str, command: str) -> None:
    if not run:
        raise ConfigError(
            f"distpg {command} needs a run directory", f"Example: distpg {command} runs/CartPole-v1-0-…"
        )


def _evaluate(arguments: list[str]) -> None:
    options = parse(EvaluateOptions(), "distpg evaluate", arguments)
    _need_run(options.run, "evaluate")
    if options.greedy and options.sampled:
        raise ConfigError("--greedy and --sampled exclude each other", "Give one of them.")
    if options.num_episodes < 1:
        raise ConfigError(
            f"--num-episodes must be at least 1, not {options.num_episodes}", "Example: --num-episodes 100"
        )

    from distpg.training.evaluation import evaluate

    video = Path(options.video) if options.video else None
    result = evaluate(options.run, options.num_episodes, not options.sampled, options.checkpoint, video)
    if not options.quiet:
        print(
            f"{'sampled' if options.sampled else 'greedy'} policy after {result.iterations} iterations, "
            f"{options.num_episodes} episodes\n"
            f"mean return {result}, "
            f"from {result.returns.min():.1f} to {result.returns.max():.1f}\n"
            f"mean length {result.lengths.mean():.1f}"
        )


def _replay(arguments: list[str]) -> None:
    options = parse(ReplayOptions(), "distpg replay", arguments)
    _need_run(options.run, "replay")
    if options.episode is None:
        raise ConfigError("distpg replay needs --episode", "Example: distpg replay RUN --episode 0")

    from distpg.training.replay import replay, show

    say = (lambda line: None) if options.quiet else print
    video = Path(options.video) if options.video else None
    played = replay(options.run, options.episode, options.render, video, say)
    if not options.quiet:
        print(show(played))


def _summary(result: Result) -> str:
    if result.solved:
        outcome = f"Solved after {result.env_steps_to_solve:,} environment steps"
    else:
        outcome = "Stopped at the limit, not solved"
    return (
        f"{outcome} in {result.iterations} iterations and {result.train_s:.1f} s.\n"
        f"Weights {result.weights_digest}.\n"
        f"Figures, metrics and result.json are in {result.run_dir}"
    )


def _plot(arguments: list[str]) -> None:
    options = parse(PlotOptions(), "distpg plot", arguments)
    if not options.runs:
        raise ConfigError("distpg plot needs a run directory", "Example: distpg plot runs/CartPole-v1-0-…")

    from distpg.runs.plots import plot_runs

    runs = [Path(run) for run in options.runs]
    output = Path(options.output) if options.output else runs[0] if len(runs) == 1 else Path()
    if not output.is_dir():
        raise RunDirectoryError(
            f"{output} is not a directory", "Check the path, or make the directory first."
        )
    plot_runs(runs, output)
    if not options.quiet:
        print(f"{output / 'learning_curve.png'}\n{output / 'variance.png'}")


def _doctor(arguments: list[str]) -> int:
    options = parse(DoctorOptions(), "distpg doctor", arguments)
    if options.env_id is None and (options.env_kwargs or options.max_episode_steps is not None):
        raise ConfigError(
            "--env-kwargs and --max-episode-steps need --env-id",
            "Example: distpg doctor --env-id CartPole-v1",
        )

    from distpg.commands.doctor import examine_all
    from distpg.environments.envs import EnvSpec

    failed, spec = False, None
    if options.env_id is not None:
        spec = EnvSpec(options.env_id, options.env_kwargs, options.max_episode_steps)
    for finding in examine_all(options.address, spec):
        failed = failed or finding.status == "fail"
        if not options.quiet or finding.status == "fail":
            print(finding, flush=True)
    return 1 if failed else 0


def _benchmark(arguments: list[str]) -> None:
    options = parse(BenchmarkOptions(), "distpg benchmark", arguments)
    configs = options.configurations()

    from distpg.commands.benchmark_report import (
        check_plot_path,
        describe,
        print_report,
        write_plot,
    )
    from distpg.system.hardware import hardware_line
    from distpg.training.throughput import as_json, benchmark

    plot = Path(options.plot) if options.plot else None
    if plot is not None:
        check_plot_path(plot)

    def say(line: str) -> None:
        if not options.quiet:
            print(_one_line(line), file=sys.stderr, flush=True)

    started = itertools.count(1)
    results = benchmark(
        configs,
        options.train,
        options.repetitions,
        options.iterations,
        on_start=lambda config: say(f"{next(started)} of {len(configs)}: {describe(config)}"),
        on_event=lambda event: None if event.is_routine else say(str(event)),
    )
    measured = []
    with contextlib.closing(results):
        for one in results:
            measured.append(one)
            if options.json:
                print(json.dumps(as_json(one), allow_nan=False), flush=True)
    if plot is not None:
        write_plot(measured, plot)
    if options.json:
        say(hardware_line())
    elif not options.quiet:
        print_report(measured)


_COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "train": _train,
    "resume": _resume,
    "evaluate": _evaluate,
    "replay": _replay,
    "plot": _plot,
    "benchmark": _benchmark,
    "doctor": _doctor,
}
