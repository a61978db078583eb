"""Gradients at the runners: the same weights at any number of them, also when one dies between the passes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray as ray_library

import distpg
from distpg.commands.cli import main
from distpg.learning.learner import Learner
from distpg.system.interrupts import Interrupts
from distpg.training.prepare import prepare
from distpg.training.start import started
from tests.conftest import FEW_CPUS

CASES: dict[str, dict[str, Any]] = {
    "none": {"baseline": "none"},
    "episode": {"baseline": "episode", "sampler": "gymnasium", "policy": "linear"},
    "batch": {"baseline": "batch", "policy_lag": 1, "audit_every": 1},
    "timestep": {"baseline": "timestep", "normalise_returns": "running"},
    "by torch": {"env_id": "Pendulum-v1", "max_episode_steps": 20},
}


def config(run: Path | None, case: str, **options: Any) -> distpg.TrainConfig:
    usual = {"seed": 5, "max_iterations": 4, "stop_return": None, "cpus_per_env_runner": FEW_CPUS}
    sizes = {"episodes_per_iteration": 24, "episodes_per_task": 5, "gradients": "runners"}
    run_dir = None if run is None else str(run)
    return distpg.TrainConfig(run_dir=run_dir, **{**usual, **sizes, **CASES[case], **options})


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_at_any_number_of_runners_and_after_a_resume(in_tmp_path: Path, case: str) -> None:
    alone = distpg.train(config(in_tmp_path / "0", case, num_env_runners=0))
    for number in (1, 3):
        run = in_tmp_path / str(number)
        several = distpg.train(config(run, case, num_env_runners=number, address="auto"))
        assert several.weights_digest == alone.weights_digest
        assert (in_tmp_path / "0" / "episodes.csv").read_text() == (run / "episodes.csv").read_text()
    distpg.train(config(in_tmp_path / "r", case, num_env_runners=0, max_iterations=2))
    assert distpg.resume(in_tmp_path / "r", max_iterations=4).weights_digest == alone.weights_digest
    # What one learner computes from whole episodes, to rounding.
    distpg.train(config(in_tmp_path / "c", case, num_env_runners=0, gradients="learner"))
    mine, its = (
        [json.loads(line) for line in (in_tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("0", "c")
    )
    for one, other in zip(mine, its, strict=True):
        assert one["num_env_steps_sampled_lifetime"] == other["num_env_steps_sampled_lifetime"]
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.usefixtures("ray")
def test_a_runner_that_dies_between_the_passes_costs_nothing() -> None:
    weights = []
    for number, dies in ((0, False), (2, False), (2, True)):
        where = {"num_env_runners": number, "min_env_runners": max(1, number)}
        prepared = prepare(config(None, "timestep", address="auto" if number else None, **where))
        learner = Learner(prepared.config, prepared.policy)
        with Interrupts() as interrupts, started(prepared, interrupts, lambda event: None, None) as runners:
            for iteration in range(3):
                episodes = runners.play(iteration, learner.weights)
                if dies and iteration == 1:
                    first = min(runners.group._runners)  # type: ignore[attr-defined]
                    ray_library.kill(runners.group._runners[first].actor)  # type: ignore[attr-defined]
                learner.update(episodes)
            assert not dies or runners.group.num_restarts == 1
        weights.append(np.concatenate([array.ravel() for array in learner.weights.values()]).tobytes())
    assert weights[0] == weights[1] == weights[2]


def test_what_was_trained_so_is_replayed(in_tmp_path: Path) -> None:
    distpg.train(config(Path("run"), "timestep", num_env_runners=0, checkpoint_every=0))
    assert main(["replay", "run", "--episode", "60", "--quiet"]) == 0
    shutil.rmtree("run")


def test_a_value_function_is_refused_with_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--gradients", "runners", "--baseline", "value"]) == 2
    told = capfd.readouterr().err
    assert "--gradients runners" in told
    assert "timestep" in told
