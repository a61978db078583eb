"""``distpg plot``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.commands.options import Verbosity
from distpg.commands.parser import parse
from distpg.errors import RunDirectoryError


@dataclass(frozen=True)
class PlotOptions(Verbosity):
    """Draw learning_curve.png and variance.png of one or more runs."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run directories"""
    output: str | None = None
    """Directory for the figures; default: the run's own, or for several runs the working directory"""


def run(arguments: list[str]) -> int:
    """Draw the figures and print where they are."""
    options = parse(PlotOptions(), "distpg plot", arguments)

    from distpg.runs.plots import plot_runs

    runs = [Path(run) for run in options.runs]
    output = Path(options.output) if options.output else runs[0] if len(runs) == 1 else Path()
    if not output.is_dir():
        hint = "Check the path, or make the directory first."
        raise RunDirectoryError(f"{output} is not a directory", hint)
    plot_runs(runs, output)
    if not options.quiet:
        print(f"{output / 'learning_curve.png'}\n{output / 'variance.png'}")
    return 0
