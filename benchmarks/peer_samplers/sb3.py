"""Stable-Baselines3: A2C.collect_rollouts (PPO's is the same code) over DummyVecEnv.

The value function is a single linear layer, the least that its policies can have.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.peer_samplers.serving import HIDDEN, Lengths, Sampler, load_into, serve, steps_per_env


def make(policy: str, setting: str) -> Sampler:
    num_envs = int(setting.split()[0])
    # Neither the checker of environments nor a Monitor: both cost time.
    env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1", disable_env_checker=True)] * num_envs)
    n_steps = steps_per_env(num_envs)
    network = {"net_arch": {"pi": [HIDDEN], "vf": []}, "activation_fn": torch.nn.ReLU}
    model = A2C("MlpPolicy", env, n_steps=n_steps, device="cpu", policy_kwargs=network)
    hidden, output = model.policy.mlp_extractor.policy_net[0], model.policy.action_net
    load_into([*hidden.parameters(), *output.parameters()], policy)
    _, callback = model._setup_learn(total_timesteps=10**12)
    lengths = Lengths(num_envs)

    def collect() -> RolloutBuffer:
        model.collect_rollouts(env, callback, model.rollout_buffer, n_steps)
        return model.rollout_buffer

    def count(buffer: RolloutBuffer) -> tuple[int, list[int]]:
        # The buffer says which steps are an episode's first; the last row's ends are in what comes next.
        ended = np.concatenate([buffer.episode_starts[1:], model._last_episode_starts[None]])
        return lengths(ended.astype(bool))

    return Sampler(collect, count)


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = [f"{number} envs" for number in (1, 8, 32, 64, 128, 256)]
    serve(make, settings, ["stable-baselines3", "torch", "gymnasium", "numpy"])
