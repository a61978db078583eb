"""PufferLib: its CartPole in C, whose episodes end after 200 steps, those of CartPole-v1 after 500."""

from __future__ import annotations

import os
import sys

import numpy as np

from benchmarks.peer_samplers import torch_loop
from benchmarks.peer_samplers.serving import Sampler, serve

LIMIT = 200


def make(policy: str, setting: str) -> Sampler:
    from pufferlib.ocean.cartpole.cartpole import Cartpole

    num_envs = int(setting.split()[0])
    env = Cartpole(num_envs, report_interval=1 << 40)
    steps = np.zeros(num_envs, np.int32)

    def step(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal steps
        # It does not say where the limit ends an episode, and writes into the same arrays each time.
        observations, rewards, terminated, _, _ = env.step(actions)
        steps += 1
        ended = terminated | (steps == LIMIT)
        steps *= ~ended
        return observations, rewards, ended

    return torch_loop.sampler(policy, env.reset(seed=0)[0], step, resets_take_a_step=False)


if __name__ == "__main__":
    os.chdir(sys.prefix)  # its import leaves a link in the working directory
    settings = [f"{number} envs" for number in (64, 256, 512, 1024, 2048, 4096)]
    serve(make, settings, ["pufferlib", "torch", "numpy"])
