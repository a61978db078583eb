"""A run's progress for people: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from distpg.config.train_config import TrainConfig
    from distpg.core.events import Event
    from distpg.runs.metrics import Metrics
    from distpg.runs.results import Result
    from distpg.training.trainer import Listeners

_BARS = "▁▂▃▄▅▆▇█"
_SECONDS_BETWEEN_LINES = 1.0


class PlainDisplay:
    """A line about once a second, for logs and pipes."""

    def __init__(self) -> None:
        self._here = str(Path.cwd())  # of the start, which an environment may change
        self._next_line = 0.0
        self._unprinted: Metrics | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()

    def start(self, config: TrainConfig, run: Path) -> None:
        """The runners are up and training begins."""
        print(f"{_title(config)}\nrun directory: {run}", flush=True)

    def iteration(self, metrics: Metrics) -> None:
        """An iteration is done."""
        self._unprinted = metrics
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            self._print()

    def event(self, event: Event) -> None:
        """Something else happened."""
        if not event.is_routine:
            print(as_typed(str(event), self._here), flush=True)

    def _print(self) -> None:
        if (metrics := self._unprinted) is not None:
            print(
                f"iteration {metrics['training_iteration']:>5}  "
                f"steps {metrics['num_env_steps_sampled_lifetime']:>9,}  "
                f"return {metrics['episode_return_mean_100']:>5.1f}  "
                f"{metrics['env_steps_per_s']:>7,.0f} steps/s  "
                f"{metrics['episodes_per_s']:>4.0f} episodes/s",
                flush=True,
            )
        self._unprinted = None


class TerminalDisplay:
    """A live panel: how far the return has come, the curve so far, and speed."""

    def __init__(self) -> None:
        from rich.live import Live

        self._here = str(Path.cwd())
        self._config: TrainConfig | None = None
        self._run: Path | None = None
        self._metrics: Metrics | None = None
        self._curve: list[float] = []
        self._started = time.monotonic()
        self._live = Live(get_renderable=self._render, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def start(self, config: TrainConfig, run: Path) -> None:
        """The runners are up and training begins."""
        self._config, self._run = config, run

    def iteration(self, metrics: Metrics) -> None:
        """An iteration is done."""
        self._metrics = metrics
        self._curve.append(metrics["episode_return_mean_100"])

    def event(self, event: Event) -> None:
        """Something else happened."""
        if not event.is_routine:
            line = as_typed(str(event), self._here)
            self._live.console.print(line, style="yellow", markup=False, highlight=False)

    def _render(self) -> RenderableType:
        from rich.panel import Panel
        from rich.table import Table

        if self._config is None:
            return f"Starting runners … {time.monotonic() - self._started:.0f} s"
        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in range(4):
            grid.add_column(ratio=1)
        if (metrics := self._metrics) is not None:
            minutes, seconds = divmod(int(metrics["time_total_s"]), 60)
            grid.add_row(
                f"iteration [bold]{metrics['training_iteration']:,}[/]",
                f"episodes [bold]{metrics['num_episodes_lifetime']:,}[/]",
                f"steps [bold]{metrics['num_env_steps_sampled_lifetime']:,}[/]",
                f"time [bold]{minutes}:{seconds:02}[/]",
            )
            grid.add_row(
                f"runners [bold]{metrics['num_healthy_env_runners']}[/]",
                f"[bold]{metrics['episodes_per_s']:,.0f}[/] episodes/s",
                f"[bold]{metrics['env_steps_per_s']:,.0f}[/] steps/s",
                f"entropy [bold]{metrics['policy_entropy']:.3f}[/]",
            )
        table = Table.grid(expand=True)
        table.add_row(_return_row(self._curve, self._config.stop_return))
        table.add_row(grid)
        return Panel(table, title=_title(self._config), subtitle=str(self._run), border_style="dim")


def _return_row(curve: list[float], goal: float | str | None) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    row = Table.grid(expand=True, padding=(0, 1))
    latest = curve[-1] if curve else 0.0
    values: list[Any] = [f"return [bold]{latest:.1f}[/]"]
    row.add_column(no_wrap=True)
    if isinstance(goal, (int, float)):
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        first = min(curve, default=0.0)
        values.append(ProgressBar(total=max(goal - first, 1e-9), completed=max(latest - first, 0.0)))
        values.append(f"{goal:g}")
    row.add_column(no_wrap=True)
    row.add_row(*values, f"[cyan]{sparkline(curve, 24)}[/]")
    return row


def sparkline(values: list[float], width: int) -> str:
    """The values as a row of bars, at most ``width`` of them, each the last of its part."""
    count = min(width, len(values))
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[int((value - low) * scale)] for value in shown)


def _title(config: TrainConfig) -> str:
    return f"distpg · {config.env_id} · seed {config.seed} · {runners_in_words(config.num_env_runners)}"


def runners_in_words(number: int | str) -> str:
    """How many runners there are, or that there are none."""
    return "in this process" if number == 0 else f"{number} runner{'s' if number != 1 else ''}"


def follow(quiet: bool, training: Callable[[Listeners], Result]) -> None:
    """Show the course and the outcome of a training that reports to listeners; nothing if ``quiet``."""
    from distpg.training.trainer import Listeners

    if quiet:
        training(Listeners())
        return
    with TerminalDisplay() if sys.stdout.isatty() else PlainDisplay() as display:
        result = training(Listeners(display.start, display.iteration, display.event))
    outcome = "Stopped at the limit, not solved"
    if result.solved:
        outcome = f"Solved after {result.env_steps_to_solve:,} environment steps"
    print(
        f"{outcome} in {result.iterations} iterations and {result.train_s:.1f} s.\n"
        f"Weights {result.weights_digest}.\n"
        f"Figures, metrics and result.json are in {result.run_dir}"
    )


def as_typed(text: str, here: str) -> str:
    """The text with paths below the working directory ``here`` as they would be typed there."""
    if here == "/":
        return text
    whole = rf"(?<![\w/.-]){re.escape(here)}(?:/|(?![\w.-]))"
    return re.sub(whole, lambda found: "" if found[0].endswith("/") else ".", text)


def one_line(text: str) -> str:
    """The text without line ends and control characters, so that what it quotes cannot steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))
