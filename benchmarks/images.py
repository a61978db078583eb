"""Images, 84 x 84 x 4 bytes: bytes a step from runner to learner, and the most memory that commands take."""

from __future__ import annotations

import argparse
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import distpg
from benchmarks.common import start_distpg

STEPS = 1000


class Pictures(gymnasium.Env[Any, int]):
    """Noise, which no compression makes smaller; 1,000 steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        return self._picture(), float(action == 3), False, False, {}

    def _picture(self) -> Any:
        return self.np_random.integers(0, 256, (84, 84, 4), np.uint8)


gymnasium.register("Pictures-v0", Pictures, max_episode_steps=STEPS)


def bytes_per_step(episodes: int) -> float:
    """Of what a runner answers: it is pickled as it stands."""
    config = distpg.TrainConfig(
        env_id="benchmarks.images:Pictures-v0",
        num_env_runners=0,
        episodes_per_iteration=episodes,
        env_reuse="always",
    )
    with distpg.rollouts(config) as runners:
        batch = runners.collect(0, runners.initial_weights)
    return len(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)) / (episodes * STEPS)


def peak_gb(*arguments: str) -> float:
    """The most memory of a command's process, in GB."""
    process = start_distpg(*arguments)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"distpg {arguments[0]} ended with exit code {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=16)
    options = parser.parse_args()
    number = str(options.episodes)
    print(f"{bytes_per_step(2):,.0f} bytes a step from runner to learner")
    with tempfile.TemporaryDirectory() as directory:
        run = str(Path(directory, "run"))
        name = ["--env-id", "benchmarks.images:Pictures-v0", "--env-reuse", "always"]
        limits = ["--max-iterations", "1", "--num-env-runners", "0", "--episodes-per-iteration", number]
        trained = peak_gb("train", *name, *limits, "--run-dir", run)
        print(f"train, an iteration of {number} episodes: {trained:.2f} GB")
        print(f"evaluate, {number} episodes: {peak_gb('evaluate', run, '--num-episodes', number):.2f} GB")


if __name__ == "__main__":
    main()
