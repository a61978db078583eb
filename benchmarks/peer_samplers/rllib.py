"""RLlib: SingleAgentEnvRunner.sample with PPO's module, in this process without Ray's."""

from __future__ import annotations

import warnings

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from benchmarks.peer_samplers.serving import HIDDEN, Sampler, load_into, serve, steps_per_env


def make(policy: str, setting: str) -> Sampler:
    num_envs = int(setting.split()[0])
    mode = "sync" if setting.endswith("sync") else "vector_entry_point"
    # The vector entry point is Gymnasium's CartPoleVectorEnv: NumPy, no loop over environments.
    env_config = {"disable_env_checker": True} if mode == "sync" else {}
    config = (
        PPOConfig()
        .environment("CartPole-v1", env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs, gym_env_vectorize_mode=mode)
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[HIDDEN], fcnet_activation="relu", vf_share_layers=False
            )
        )
    )
    runner = SingleAgentEnvRunner(config=config)
    parameters = runner.module.named_parameters()
    load_into([array for name, array in parameters if name.startswith(("encoder.actor", "pi."))], policy)

    def collect() -> list[SingleAgentEpisode]:
        episodes = runner.sample(num_timesteps=num_envs * steps_per_env(num_envs))
        runner.get_metrics()  # as its algorithms do; else they would pile up
        return episodes

    def count(episodes: list[SingleAgentEpisode]) -> tuple[int, list[int]]:
        # An episode comes in pieces: len() is of the piece, t of the whole.
        return sum(map(len, episodes)), [episode.t for episode in episodes if episode.is_done]

    return Sampler(collect, count)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    settings = [f"{number} envs vector" for number in (1, 8, 32, 64, 128, 256)]
    serve(make, ["64 envs sync", *settings], ["ray", "torch", "gymnasium", "numpy"])
