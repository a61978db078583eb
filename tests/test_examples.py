"""The examples do what they say, with every promise."""

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distpg.commands.cli import main
from tests.conftest import a_runner

EXAMPLES = Path(__file__).parent.parent / "examples"


def own_learner(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[str]:
    """What it prints; ``meanwhile`` is called at each iteration."""
    example = runpy.run_path(str(EXAMPLES / "own_learner.py"))
    improve = example["improve"]

    def improve_and_more(*arguments: object) -> None:
        improve(*arguments)
        meanwhile()

    monkeypatch.setitem(example["main"].__globals__, "improve", improve_and_more)
    monkeypatch.setattr(sys, "argv", ["own_learner.py", *options])
    example["main"]()
    return capsys.readouterr().out.splitlines()


def test_a_learner_of_ones_own_solves_cartpole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, last, _ = own_learner(monkeypatch, capsys, "--num-env-runners", "0")
    assert float(last.split()[-1]) >= 475


@pytest.mark.parametrize(
    "options",
    [
        ["--env-id", "examples.slow_simulator:Tank", "--env-kwargs", '{"step_ms": 0}'],
        ["--env-id", "examples.factory:lake", "--env-kwargs", '{"size": 3}'],
        ["--env-id", "examples.compiled_environment:ROCKET"],
        ["--env-id", "Acrobot-v1", "--policy", "examples.own_policy:residual", "--max-episode-steps", "50"],
    ],
    ids=lambda options: options[1],
)
def test_what_is_named_is_trained(in_tmp_path: Path, options: list[str]) -> None:
    usual = ["--num-env-runners", "0", "--max-iterations", "3", "--quiet", "--run-dir", "run"]
    assert main(["train", *options, *usual]) == 0
    result = json.loads((in_tmp_path / "run" / "result.json").read_text())
    assert result["reproducible"]


def test_numbers_as_actions(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(EXAMPLES / "continuous_control.py"))
    example["main"](str(in_tmp_path / "run"), max_iterations=2, num_env_runners=0)
    assert "the torque is " in capsys.readouterr().out


@pytest.mark.usefixtures("ray")
def test_its_digest_is_the_same_with_runners_and_through_a_killed_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = own_learner(monkeypatch, capsys, "--num-env-runners", "0", "--max-iterations", "8")
    killed: list[int] = []

    def kill_one() -> None:
        if not killed:
            killed.append(a_runner())
            os.kill(killed[0], signal.SIGKILL)

    for meanwhile in (lambda: None, kill_one):
        options = ("--num-env-runners", "2", "--max-iterations", "8")
        assert own_learner(monkeypatch, capsys, *options, meanwhile=meanwhile) == expected
    assert killed
