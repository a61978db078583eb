from pathlib import Path

import pytest
from rich.console import Console

from distpg.commands.display import PlainDisplay, TerminalDisplay, as_typed, sparkline
from distpg.config.train_config import TrainConfig
from distpg.core.events import EnvRunnerDied


def metrics(iteration: int, mean: float) -> dict[str, object]:
    return {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 1234567,
        "num_episodes_lifetime": 4 * iteration,
        "episode_return_mean_100": mean,
        "env_steps_per_s": 45678.9,
        "episodes_per_s": 123.4,
        "policy_entropy": 0.5,
        "num_healthy_env_runners": 2,
        "time_total_s": 83.0,
    }


def test_the_panel_fits_80_columns() -> None:
    display = TerminalDisplay()
    display.start(
        TrainConfig(num_env_runners=2, stop_return=475.0), Path("runs/CartPole-v1-0-20260101T000000Z")
    )
    for iteration in range(1, 200):
        display.iteration(metrics(iteration, iteration * 2.0))
    console = Console(width=80, force_terminal=True)
    with console.capture() as captured:
        console.print(display._render())
    lines = captured.get().splitlines()
    text = " ".join(lines)
    assert len(lines) <= 8
    assert "398.0" in text
    assert "475" in text
    assert "1,234,567" in text
    assert "1:23" in text


def test_plain_lines_start_at_once_and_end_with_the_last_iteration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainDisplay() as display:
        display.start(TrainConfig(num_env_runners=0), Path("there"))
        for iteration in range(1, 50):
            display.iteration(metrics(iteration, 20.0))
        display.event(EnvRunnerDied(3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "run directory: there"
    assert lines[2].startswith("iteration     1  steps 1,234,567")
    assert "env runner died: env runner 3" in lines
    assert lines[-1].startswith("iteration    49")
    assert all(len(line) <= 80 for line in lines)


def test_sparkline() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5.0], 10) == "▁"
    assert sparkline([float(n) for n in range(8)], 8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([float(n) for n in range(1000)], 24)) == 24


@pytest.mark.parametrize(
    ("text", "here", "shown"),
    [
        ("cannot write /a/b/runs/x: full", "/a/b", "cannot write runs/x: full"),
        ("/a/b is not a run directory", "/a/b", ". is not a run directory"),
        ("/a/bc/x, /z/a/b/x and ../a/b/x", "/a/b", "/a/bc/x, /z/a/b/x and ../a/b/x"),
        ("/x and ray://127.0.0.1:1", "/", "/x and ray://127.0.0.1:1"),
    ],
)
def test_paths_are_shown_as_they_would_be_typed(text: str, here: str, shown: str) -> None:
    assert as_typed(text, here) == shown
