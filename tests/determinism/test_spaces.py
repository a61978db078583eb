"""Every kind of space, mask, generator and policy: the same weights at any number of runners, and resumed."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import distpg
from distpg.config.train_config import TrainConfig
from distpg.errors import DistpgError
from distpg.training.replay import replay
from distpg.training.trainer import Listeners
from tests.conftest import FEW_CPUS
from tests.space_environments import Guess

ENVS = "tests.space_environments"
PARTS = "Dict(image=Box(0, 255, (3, 3), np.uint8), at=Discrete(4), all=Tuple((Box(-np.inf, 9, (2,)),)))"


def of_program(size: np.int64) -> gymnasium.Env[Any, Any]:
    """What only a calling program has: a function, and an argument that JSON has no word for."""
    return Guess(f"Discrete({size})")


def own_network(observation_space: Any, action_space: Any) -> torch.nn.Module:
    size, outputs = observation_space.shape[0], int(action_space.n)
    return torch.nn.Sequential(torch.nn.Linear(size, 9), torch.nn.LayerNorm(9), torch.nn.Linear(9, outputs))


CASES: dict[str, dict[str, Any]] = {
    "categories": {"env_id": f"{ENVS}:Guess"},
    "parts": {
        "env_id": f"{ENVS}:Guess",
        "env_kwargs": {"observes": PARTS, "acts": "MultiDiscrete([3, 2])"},
        "drop_observations": ["at"],
        "policy_lag": 1,
    },
    "numbers": {"env_id": f"{ENVS}:Guess", "env_kwargs": {"acts": "Box(0, 2, (2,))"}, "entropy_coef": 0.01},
    "tanh": {
        "env_id": "Pendulum-v1",
        "max_episode_steps": 30,
        "action_bounds": "tanh",
        "policy_lag": 2,
        "baseline": "value",
        "gae_lambda": 0.9,
        "value_minibatch_size": 32,
        "value_updates": 2,
    },
    "masks in info": {
        "env_id": f"{ENVS}:Masked",
        "max_kl": 0.001,
        "normalise_returns": "running",
        "normalise_advantages": "none",
    },
    "masks in observations": {"env_id": f"{ENVS}:Masked", "env_kwargs": {"where": "observation"}},
    "global generators": {
        "env_id": f"{ENVS}:snake",
        "wrappers": [f"{ENVS}:twice"],
        "env_number_kwarg": "number",
    },
    "images": {"env_id": f"{ENVS}:Pixels", "policy": "cnn", "entropy_coef": 0.1},
    "running mean": {"env_id": f"{ENVS}:Prices", "policy": "polynomial", "policy_lag": 1},
    "of a program": {
        "env_id": of_program,
        "env_kwargs": {"size": np.int64(3)},
        "policy": own_network,
        "env_reuse": "always",
    },
}


def config(run: Path, case: str, **options: Any) -> TrainConfig:
    defaults: dict = {
        "cpus_per_env_runner": FEW_CPUS,
        "seed": 5,
        "max_iterations": 4,
        "episodes_per_iteration": 6,
        "hidden_sizes": (8,),
        "num_env_runners": 0,
        "stop_return": None,
    }
    return TrainConfig(**{**defaults, **CASES[case], **options}, run_dir=str(run))


def digests(run: Path) -> list[str]:
    return [json.loads(line)["weights_digest"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def stop_after(iterations: int) -> Listeners:
    def on_iteration(metrics: dict) -> None:
        if metrics["training_iteration"] == iterations:
            raise KeyboardInterrupt

    return Listeners(on_iteration=on_iteration)


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_runners_and_resumed(in_tmp_path: Path, case: str) -> None:
    result = distpg.train(config(in_tmp_path / "0", case))
    assert result.reproducible
    expected = digests(in_tmp_path / "0")
    assert len(set(expected)) == 4
    distpg.train(config(in_tmp_path / "3", case, num_env_runners=3))
    assert digests(in_tmp_path / "3") == expected
    with pytest.raises(KeyboardInterrupt):
        distpg.train(config(in_tmp_path / "resumed", case), stop_after(2))
    asked_again = {}
    if case == "of a program":
        asked_again = {name: CASES[case][name] for name in ("env_id", "env_kwargs", "policy")}
        with pytest.raises(DistpgError, match=r"of_program, .* is of the program"):
            distpg.resume(in_tmp_path / "resumed")
    distpg.resume(in_tmp_path / "resumed", **asked_again)
    assert digests(in_tmp_path / "resumed") == expected
    replay(in_tmp_path / "3", 13, **asked_again)
