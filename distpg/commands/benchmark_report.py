"""Benchmark results for people: two tables of 80 columns, and a figure of speed against runners."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.errors import ConfigError
from distpg.runs.plots import COLOURS, GREY, new_axes
from distpg.system.files import check_directory_of, writing
from distpg.system.hardware import hardware_line
from distpg.training.throughput import Measurement, efficiency, sizes_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

_FORMATS = (".png", ".pdf", ".svg")


def check_plot_path(path: Path) -> None:
    """Whether a figure can be written there, as far as can be known before (ConfigError: it cannot)."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--plot cannot be {path}", f"Its name must end in {' or '.join(_FORMATS)}.")
    check_directory_of(path, "--plot")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written to", "Check the path given to --plot.")


def print_report(measured: Sequence[Measurement]) -> None:
    """The tables and what they were measured on, to standard output."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    first = measured[0]
    weights = "updated after each iteration" if first.train else "as they begin"
    repetitions = len(first.repetitions)
    console.print(
        f"{first.config.env_id}, weights {weights}; "
        f"{repetitions} repetition{'s' if repetitions > 1 else ''}, the median one and min-max"
    )
    for sizes, group in _groups(measured).items():
        iterations = group[0].median.iterations
        console.print(f"\n{sizes}\n{iterations} iteration{'s' if iterations > 1 else ''} a repetition\n")
        console.print(_table([_speed(one, group) for one in group]))
        console.print()
        console.print(_table([_time(one) for one in group]))
    console.print("\nCPU/task: time of this process's CPUs while it collects, for each task")
    console.print(hardware_line())


def _groups(measured: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for one in measured:
        groups.setdefault(sizes_in_words(one.config), []).append(one)
    return groups


def _speed(one: Measurement, group: Sequence[Measurement]) -> dict[str, str]:
    median, share = one.median, efficiency(one, group)
    return {
        "runners": str(one.num_env_runners),
        "episodes/s": _number(median.episodes_per_s),
        "min-max": f"{_number(min(one.episodes_per_s))}-{_number(max(one.episodes_per_s))}",
        "mean length": f"{median.steps / median.episodes:,.1f}",
        "steps/s": _number(median.steps_per_s),
        "efficiency": "" if share is None else f"{100 * share:.0f} %",
    }


def _time(one: Measurement) -> dict[str, str]:
    median, total_s = one.median, one.median.time.total_s
    parts = ("sampling", "gradient", "waiting", "transport", "broadcast")
    return {
        "runners": str(one.num_env_runners),
        "iteration": _duration(total_s / median.iterations),
        **{
            part: f"{100 * seconds / total_s:.1f} %" for part, seconds in zip(parts, median.time, strict=True)
        },
        "CPU/task": _duration(median.driver_cpu_s / median.tasks),
    }


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows by the names of their columns."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row.values())
    return table


def _number(value: float) -> str:
    """Four digits or more, so that small rates can be told apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    return f"{_number(seconds)} s" if seconds >= 1 else f"{_number(1000 * seconds)} ms"


def write_plot(measured: Sequence[Measurement], path: Path) -> None:
    """Draw the figure into a file (StorageError: it cannot be written)."""
    with writing(path):
        draw(measured).savefig(path)


def draw(measured: Sequence[Measurement]) -> Figure:
    """Episodes a second against the number of runners, with the range over the repetitions.

    Beside it what as many times one runner would play, and, level, what this process plays without runners.
    """
    figure, axes = new_axes(f"Throughput: {measured[0].config.env_id}", "Runners", "Episodes a second")
    for (sizes, group), colour in zip(_groups(measured).items(), itertools.cycle(COLOURS), strict=False):
        group.sort(key=lambda one: one.num_env_runners)
        with_runners = [one for one in group if one.num_env_runners > 0]
        numbers = [one.num_env_runners for one in with_runners]
        medians = [one.median.episodes_per_s for one in with_runners]
        if with_runners:
            bars = [
                [one.median.episodes_per_s - min(one.episodes_per_s) for one in with_runners],
                [max(one.episodes_per_s) - one.median.episodes_per_s for one in with_runners],
            ]
            axes.errorbar(
                numbers, medians, bars, fmt="o-", color=colour, capsize=3, markersize=4, label=sizes
            )
        if numbers[:1] == [1]:
            ideal = [medians[0] * number for number in numbers]
            axes.plot(numbers, ideal, ":", color=colour, linewidth=1, label="so many times one runner")
        if group[0].num_env_runners == 0:
            rate, label = group[0].median.episodes_per_s, "in this process, 0 runners"
            axes.axhline(rate, color=colour, linestyle="--", linewidth=1, label=label)
    _finish(axes, sorted({one.num_env_runners for one in measured} - {0}))
    return figure


def _finish(axes: Axes, numbers: list[int]) -> None:
    if numbers and numbers[-1] >= 8 * numbers[0]:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_title("medians, bars from least to most", loc="right", fontsize="small", color=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
