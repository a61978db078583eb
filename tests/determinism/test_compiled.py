"""The compiled sampler keeps the promises: any number of runners, kills, resumes, evaluation and replay."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import distpg
from distpg.commands.cli import main
from distpg.training.trainer import Listeners
from tests.conftest import FEW_CPUS, processes_named

CASES: dict[str, dict[str, Any]] = {
    "CartPole": {"env_id": "CartPole-v1", "sampler": "compiled"},
    "lagging": {"env_id": "CartPole-v1", "sampler": "compiled", "policy_lag": 1, "audit_every": 1},
    "generalised advantages": {
        "env_id": "MountainCar-v0",
        "sampler": "compiled",
        "baseline": "value",
        "gae_lambda": 0.9,
    },
    "of your own": {"env_id": "examples.compiled_environment:ROCKET", "policy": "polynomial"},
}


def config(run: Path, case: str, **options: Any) -> distpg.TrainConfig:
    usual = {"seed": 5, "max_iterations": 4, "stop_return": None, "cpus_per_env_runner": FEW_CPUS}
    sizes = {"episodes_per_iteration": 24, "episodes_per_task": 5}
    return distpg.TrainConfig(run_dir=str(run), **{**usual, **sizes, **CASES[case], **options})


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_at_any_number_of_runners_and_after_a_resume(in_tmp_path: Path, case: str) -> None:
    alone = distpg.train(config(in_tmp_path / "0", case, num_env_runners=0))
    assert json.loads((in_tmp_path / "0" / "config.json").read_text())["sampler"] == "compiled"
    assert alone.reproducible
    two = distpg.train(config(in_tmp_path / "2", case, num_env_runners=2, address="auto"))
    assert two.weights_digest == alone.weights_digest
    assert (in_tmp_path / "0" / "episodes.csv").read_text() == (
        in_tmp_path / "2" / "episodes.csv"
    ).read_text()
    distpg.train(config(in_tmp_path / "r", case, num_env_runners=0, max_iterations=2))
    assert distpg.resume(in_tmp_path / "r", max_iterations=4).weights_digest == alone.weights_digest


@pytest.mark.usefixtures("ray")
def test_a_runner_that_dies_costs_nothing(in_tmp_path: Path) -> None:
    alone = distpg.train(config(in_tmp_path / "0", "CartPole", num_env_runners=0, max_iterations=30))
    killed: list[int] = []

    def kill_one(metrics: Any) -> None:
        if metrics["training_iteration"] == 3:
            (victim, *_) = processes_named("ray::RayEnvRunner")
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    two = distpg.train(
        config(in_tmp_path / "2", "CartPole", num_env_runners=2, max_iterations=30, address="auto"),
        Listeners(on_iteration=kill_one),
    )
    assert killed
    assert two.weights_digest == alone.weights_digest


@pytest.mark.usefixtures("ray")
def test_what_was_trained_is_evaluated_and_replayed(in_tmp_path: Path) -> None:
    distpg.train(config(Path("run"), "CartPole", num_env_runners=0))
    here = distpg.evaluate("run", 20)
    assert here.returns.tolist() == distpg.evaluate("run", 20, num_env_runners=1).returns.tolist()
    drawn = distpg.evaluate("run", 3, video=Path("one.gif"))
    assert drawn.returns.tolist() == here.returns[:3].tolist()
    assert main(["replay", "run", "--episode", "30", "--quiet", "--video", "two.gif"]) == 0
    assert Path("one.gif").stat().st_size > 1000
    assert Path("two.gif").stat().st_size > 1000
    shutil.rmtree("run")


def test_what_cannot_be_compiled_is_said(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--env-id", "Taxi-v4", "--sampler", "compiled", "--num-env-runners", "0"]) == 2
    assert "--sampler compiled: Taxi-v4 has no compiled form" in capsys.readouterr().err
    deep = ["--hidden-sizes", "8", "8", "8", "--sampler", "compiled"]
    assert main(["train", *deep, "--num-env-runners", "0"]) == 2
    assert "one or two hidden layers" in capsys.readouterr().err
