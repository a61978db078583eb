"""The ``distpg`` command: one function a subcommand, loaded only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.command_line import ConfigFile, PlotOptions, TrainOptions, parse
from distpg.config import TrainConfig, load_config_file
from distpg.errors import ConfigError, DistpgError, RunDirectoryError

if TYPE_CHECKING:
    from distpg.trainer import Result

USAGE = """\
usage: distpg COMMAND [OPTION ...]

commands:
  train      train a policy; with no option: CartPole-v1, until solved
  plot       draw the learning curve and variance of one or more runs

distpg COMMAND --help lists a command's options with their defaults.
distpg --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 1 (failed), 2 (wrong input) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # So that --env-id module:EnvId finds a module of the working directory; last, so that it hides no other.
    sys.path.append(str(Path.cwd()))
    try:
        return _run(arguments)
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
        _report("interrupted", "The run directory holds every iteration that was completed.")
        return 130


def _report(message: str, hint: str) -> None:
    print(f"error: {' '.join(message.split())}\nhint: {' '.join(hint.split())}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(USAGE, end="", file=sys.stderr)
        return 2
    command, rest = arguments[0], arguments[1:]
    if command in ("-h", "--help"):
        print(USAGE, end="")
    elif command == "--version":
        from distpg.version import __version__

        print(f"distpg {__version__}")
    elif command in _COMMANDS:
        _COMMANDS[command](rest)
    else:
        close = get_close_matches(command, _COMMANDS, n=1)
        hint = f"Did you mean distpg {close[0]}?" if close else "distpg --help lists the commands."
        raise ConfigError(f"there is no command {command!r}", hint)
    return 0


def _train(arguments: list[str]) -> None:
    given = parse(ConfigFile(), "distpg train", arguments, ignore_others=True)
    base = TrainConfig() if given.config is None else load_config_file(given.config)
    options = parse(TrainOptions(training=base), "distpg train", arguments)

    from distpg.display import make_display
    from distpg.trainer import Listeners, train

    with make_display(options.quiet) as display:
        result = train(options.training, Listeners(display.start, display.iteration, display.event))
    if not options.quiet:
        print(_summary(result))


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

    from distpg.plots import plot_runs

    runs = [Path(run) for run in options.runs]
    output = Path(options.output) if options.output else runs[0] if len(runs) == 1 else Path()
    if not output.is_dir():
        raise RunDirectoryError(
            f"{output} is not a directory", "Check the path, or make the directory first."
        )
    plot_runs(runs, output)
    if not options.quiet:
        print(f"{output / 'learning_curve.png'}\n{output / 'variance.png'}")


_COMMANDS: dict[str, Callable[[list[str]], None]] = {"train": _train, "plot": _plot}
