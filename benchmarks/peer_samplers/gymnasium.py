"""Gymnasium's own vector environment: CartPoleVectorEnv, NumPy without a loop over environments."""

from __future__ import annotations

import gymnasium
import numpy as np

from benchmarks.peer_samplers import torch_loop
from benchmarks.peer_samplers.serving import Sampler, serve


def make(policy: str, setting: str) -> Sampler:
    num_envs = int(setting.split()[0])
    env = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")

    def step(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated, truncated, _ = env.step(actions)
        return observations, rewards, terminated | truncated

    return torch_loop.sampler(policy, env.reset(seed=0)[0], step, resets_take_a_step=True)


if __name__ == "__main__":
    settings = [f"{number} envs" for number in (64, 256, 1024, 2048, 4096, 16384)]
    serve(make, settings, ["gymnasium", "torch", "numpy"])
