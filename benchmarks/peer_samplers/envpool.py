"""EnvPool: CartPole in C++ on a pool of threads, all environments stepped together."""

from __future__ import annotations

import warnings

import envpool
import numpy as np

from benchmarks.peer_samplers import torch_loop
from benchmarks.peer_samplers.serving import Sampler, cores, serve


def make(policy: str, setting: str) -> Sampler:
    num_envs = int(setting.split()[0])
    env = envpool.make_gymnasium("CartPole-v1", num_envs=num_envs, num_threads=cores(), seed=0)

    def step(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated, truncated, _ = env.step(actions)
        return observations, rewards, terminated | truncated

    return torch_loop.sampler(policy, env.reset()[0], step, resets_take_a_step=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    settings = [f"{number} envs" for number in (64, 256, 1024, 2048, 4096, 16384)]
    serve(make, settings, ["envpool", "torch", "gymnasium", "numpy"], has_threads=True)
