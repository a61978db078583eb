"""Stable-Baselines3's A2C: `python -m benchmarks.sb3_a2c ENV_ID KWARGS SEED THRESHOLD STEPS`.

Prints a line of JSON as benchmarks.envs wants it. Settings: rl-baselines3-zoo, hyperparams/a2c.yml, which its
authors call tuned; SB3's defaults, with as many environments and steps as CartPole has, for what it lacks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize


def linear(start: float) -> Callable[[float], float]:
    return lambda remaining: remaining * start


# The steps that the file gives each, how many environments, and whether they are in VecNormalize.
PUBLISHED: dict[str, tuple[int, int, bool, dict[str, Any]]] = {
    "CartPole-v1": (500_000, 8, False, {"ent_coef": 0.0}),
    "Acrobot-v1": (500_000, 16, True, {"ent_coef": 0.0}),
    "LunarLander-v3": (
        200_000,
        8,
        False,
        {"gamma": 0.995, "n_steps": 5, "learning_rate": linear(0.00083), "ent_coef": 0.00001},
    ),
    "Pendulum-v1": (
        1_000_000,
        8,
        True,
        {
            "ent_coef": 0.0,
            "max_grad_norm": 0.5,
            "n_steps": 8,
            "gae_lambda": 0.9,
            "vf_coef": 0.4,
            "gamma": 0.99,
            "use_rms_prop": True,
            "normalize_advantage": False,
            "learning_rate": linear(7e-4),
            "use_sde": True,
            "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
        },
    ),
    "MountainCarContinuous-v0": (
        100_000,
        4,
        True,
        {
            "n_steps": 100,
            "ent_coef": 0.0,
            "use_sde": True,
            "sde_sample_freq": 16,
            "policy_kwargs": {"log_std_init": 0.0, "ortho_init": False},
        },
    ),
}
UNKNOWN: tuple[int, int, bool, dict[str, Any]] = (500_000, 8, False, {})


class Course(BaseCallback):
    """The returns of all episodes, and where the last 100 first average the threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.returns: list[float] = []
        self.threshold = threshold
        self.is_solved = False

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        self.is_solved = len(self.returns) >= 100 and np.mean(self.returns[-100:]) >= self.threshold
        return not self.is_solved


def main() -> None:
    env_id, kwargs, seed, threshold, max_env_steps = sys.argv[1:]
    torch.set_num_threads(1)
    steps, num_envs, is_normalised, settings = PUBLISHED.get(env_id, UNKNOWN)
    steps = min(steps, int(max_env_steps))

    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(env_id, **json.loads(kwargs))
        # A2C's policies take categories one-hot by themselves, and no tuples.
        is_tuple = isinstance(env.observation_space, gymnasium.spaces.Tuple)
        return gymnasium.wrappers.FlattenObservation(env) if is_tuple else env

    env: Any = make_vec_env(make, num_envs, seed=int(seed))
    if is_normalised:
        env = VecNormalize(env, gamma=settings.get("gamma", 0.99))
    model = A2C("MlpPolicy", env, seed=int(seed), device="cpu", **settings)
    course = Course(float(threshold))
    began = time.perf_counter()
    model.learn(steps, course)
    seconds = time.perf_counter() - began
    found = {"solved": bool(course.is_solved), "env_steps": model.num_timesteps, "seconds": seconds}
    print(json.dumps(found | {"returns": [float(value) for value in course.returns]}))


if __name__ == "__main__":
    main()
