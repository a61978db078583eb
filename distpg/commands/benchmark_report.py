"""Benchmark results for people: two tables of 80 columns, and a figure of speed against runners."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.commands.display import runners_in_words
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError
from distpg.runs.plots import COLOURS, GREY, new_axes
from distpg.system.files import storage_error
from distpg.system.hardware import hardware_line
from distpg.training.throughput import Compared, Measurement, efficiency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

_FORMATS = (".png", ".pdf", ".svg")


def check_plot_path(path: Path) -> None:
    """Whether a figure can be written there, as far as can be known before.

    Raises:
        ConfigError: It cannot.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--plot cannot be {path}", f"Its name must end in {' or '.join(_FORMATS)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is not a directory", "Check the path given to --plot.")
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
    for compared, group in _groups(measured).items():
        console.print()
        iterations = group[0].median.iterations
        console.print(_sizes(compared))
        console.print(f"{iterations} iteration{'s' if iterations > 1 else ''} a repetition")
        for table in (_speed_table(group), _time_table(group)):
            console.print()
            console.print(table)
    console.print()
    console.print("CPU/task: time of this process's CPUs while it collects, for each task")
    console.print(hardware_line())


def _groups(measured: Sequence[Measurement]) -> dict[Compared, list[Measurement]]:
    groups: dict[Compared, list[Measurement]] = {}
    for one in measured:
        groups.setdefault(one.compared, []).append(one)
    return groups


def in_words(config: TrainConfig) -> str:
    """A configuration in words."""
    return f"{runners_in_words(config.num_env_runners)}, {_sizes(Measurement(config, False, ()).compared)}"


def _sizes(compared: Compared) -> str:
    lag = f", policy lag {compared.policy_lag}" if compared.policy_lag else ""
    return (
        f"{compared.episodes_per_iteration} episodes an iteration, {compared.episodes_per_task} a task{lag}, "
        f"{compared.sampler} sampler"
    )


def _speed_table(group: Sequence[Measurement]) -> Table:
    table = _table("runners", "episodes/s", "min-max", "mean length", "steps/s", "efficiency")
    for one in group:
        median, share = one.median, efficiency(one, group)
        table.add_row(
            str(one.config.num_env_runners),
            _number(median.episodes_per_s),
            _range(one.episodes_per_s),
            f"{median.steps / median.episodes:,.1f}",
            _number(median.steps_per_s),
            "" if share is None else f"{100 * share:.0f} %",
        )
    return table


def _time_table(group: Sequence[Measurement]) -> Table:
    parts = ("sampling", "gradient", "waiting", "transport", "broadcast")
    table = _table("runners", "iteration", *parts, "CPU/task")
    for one in group:
        median, split = one.median, one.median.time
        seconds = (split.sampling_s, split.gradient_s, split.waiting_s, split.transport_s, split.broadcast_s)
        table.add_row(
            str(one.config.num_env_runners),
            _duration(split.total_s / median.iterations),
            *(f"{100 * part / split.total_s:.1f} %" for part in seconds),
            _duration(median.driver_cpu_s / median.tasks),
        )
    return table


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _range(values: Sequence[float]) -> str:
    return f"{_number(min(values))}-{_number(max(values))}"


def _number(value: float) -> str:
    """Four digits or more, so that small rates can be told apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    return f"{_number(seconds)} s" if seconds >= 1 else f"{_number(1000 * seconds)} ms"


def write_plot(measured: Sequence[Measurement], path: Path) -> None:
    """Draw the figure into a file.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        draw(measured).savefig(path)
    except OSError as error:
        raise storage_error(path, error) from error


def draw(measured: Sequence[Measurement]) -> Figure:
    """Episodes a second against the number of runners, with the range over the repetitions.

    Beside it what as many times one runner would play, and, level, what this process plays without runners.
    """
    figure, axes = new_axes(f"Throughput: {measured[0].config.env_id}", "Runners", "Episodes a second")
    for (compared, group), colour in zip(_groups(measured).items(), itertools.cycle(COLOURS), strict=False):
        with_runners = sorted(
            (one for one in group if one.config.num_env_runners != 0),
            key=lambda one: int(one.config.num_env_runners),
        )
        numbers = [int(one.config.num_env_runners) for one in with_runners]
        rates = [one.episodes_per_s for one in with_runners]
        medians = [one.median.episodes_per_s for one in with_runners]
        if with_runners:
            bars = [
                [median - min(found) for median, found in zip(medians, rates, strict=True)],
                [max(found) - median for median, found in zip(medians, rates, strict=True)],
            ]
            label = _sizes(compared)
            axes.errorbar(
                numbers, medians, bars, fmt="o-", color=colour, capsize=3, markersize=4, label=label
            )
        if numbers[:1] == [1]:
            ideal = [medians[0] * number for number in numbers]
            axes.plot(numbers, ideal, ":", color=colour, linewidth=1, label="so many times one runner")
        for one in (one for one in group if one.config.num_env_runners == 0):
            rate = one.median.episodes_per_s
            axes.axhline(rate, color=colour, linestyle="--", linewidth=1, label="in this process, 0 runners")
    _finish(axes, sorted({int(one.config.num_env_runners) for one in measured} - {0}))
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
