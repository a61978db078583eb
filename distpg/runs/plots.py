"""The two figures of a run, drawn from its files."""

from __future__ import annotations

import csv
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distpg.errors import RunDirectoryError, StorageError
from distpg.runs.directory import read_config
from distpg.runs.progress import RECENT_EPISODES
from distpg.system.files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6fb4", "#d9622b", "#3a923a", "#8b5fbf", "#b0428e", "#7a6a3f")
GREY = "#6b7280"
_STEPS = "Environment steps"


Series = dict[str, NDArray[np.float64]]


class RunData(NamedTuple):
    """What the figures show of a run: columns of episodes.csv, and of metrics.jsonl."""

    label: str
    stop_return: float | None
    episodes: Series
    iterations: Series


def plot_run(run: Path) -> None:
    """:func:`plot_runs` of one that has just ended; raises StorageError if its files were taken away too."""
    try:
        plot_runs([run], run)
    except RunDirectoryError as error:
        raise StorageError(error.message, error.hint) from error


def plot_runs(runs: Sequence[Path], output: Path) -> None:
    """Draw both figures with all runs in them into ``output``.

    Raises RunDirectoryError for what is no run or is damaged, StorageError where they cannot be written.
    """
    data = [_read(run) for run in runs]
    for name, draw in (("learning_curve", _draw_learning_curve), ("variance", _draw_variance)):
        path = output / f"{name}.png"
        with writing(path):
            draw(data).savefig(path)


def _read(run: Path) -> RunData:
    config = read_config(run)
    try:
        with (run / "episodes.csv").open(encoding="utf-8", newline="") as file:
            episodes = list(csv.DictReader(file))
        text = (run / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        return RunData(
            label=f"{config['env_id']}, {config['baseline']} baseline, seed {config['seed']}",
            stop_return=config["stop_return"],
            episodes=_series(episodes, "num_env_steps_lifetime", "episode_return"),
            iterations=_series(
                lines, "num_env_steps_sampled_lifetime", "return_variance", "advantage_variance"
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"{run} cannot be read: {type(error).__name__}: {error}",
            "A file of the run is missing or damaged.",
        ) from error


def _series(rows: Sequence[dict[str, Any]], *keys: str) -> Series:
    return {
        key: np.array([np.nan if row[key] is None else float(row[key]) for row in rows], np.float64)
        for key in keys
    }


def _recent_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the last 100 values, or of all while they are fewer, float64[n]."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - RECENT_EPISODES, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def _draw_learning_curve(runs: Sequence[RunData]) -> Figure:
    """Episode return against environment steps (article, first figure)."""
    figure, axes = new_axes("Learning curve", _STEPS, "Episode return")
    for run, colour in zip(runs, itertools.cycle(COLOURS), strict=False):
        steps, returns = run.episodes.values()
        axes.plot(steps, returns, ".", color=colour, alpha=0.25, markersize=4)
        axes.plot(steps, _recent_mean(returns), color=colour, linewidth=2, label=run.label)
    for stop_return in sorted({run.stop_return for run in runs if run.stop_return is not None}):
        axes.axhline(stop_return, color=GREY, linestyle="--", linewidth=1, label=f"solved at {stop_return:g}")
    _finish(axes, "dots: episodes; lines: mean of the last 100")
    return figure


def _draw_variance(runs: Sequence[RunData]) -> Figure:
    """Variance of what weights the gradient, against environment steps (article, second figure)."""
    figure, axes = new_axes("Q-value variance", _STEPS, "Variance over an iteration's steps")
    for run, colour in zip(runs, itertools.cycle(COLOURS), strict=False):
        steps, of_returns, of_advantages = run.iterations.values()
        axes.plot(steps, of_returns, ":", color=colour, label=f"returns: {run.label}")
        axes.plot(steps, of_advantages, "-", color=colour, label=f"returns minus baseline: {run.label}")
    _finish(axes, "before normalisation")
    return figure


def new_axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """A figure of one plot."""
    # Without a home that can be written to it makes do with a temporary directory, and says so in paragraphs.
    if not (logger := logging.getLogger("matplotlib")).level:
        logger.setLevel(logging.ERROR)
    # Figure without pyplot: no global state, no window system, and half the import time.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_ylabel(y_label)
    axes.set_xlabel(x_label)
    return figure, axes


def _finish(axes: Axes, note: str) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_title(note, loc="right", fontsize="small", color=GREY)
    axes.legend(fontsize="small", frameon=False)
