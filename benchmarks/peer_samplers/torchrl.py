"""TorchRL: a Collector with a ProbabilisticActor, over its SerialEnv or Gymnasium's SyncVectorEnv."""

from __future__ import annotations

import warnings

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical, Distribution
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, GymWrapper, SerialEnv
from torchrl.modules import ProbabilisticActor

from benchmarks.peer_samplers.serving import HIDDEN, Lengths, Sampler, load_into, serve, steps_per_env


def make_plain() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1", disable_env_checker=True)


def make_env(num_envs: int, mode: str) -> EnvBase:
    if mode == "SerialEnv":
        return SerialEnv(num_envs, lambda: GymWrapper(make_plain(), categorical_action_encoding=True))
    # TorchRL resets the environments itself; it cannot wrap Gymnasium's CartPoleVectorEnv.
    vector = SyncVectorEnv([make_plain] * num_envs, autoreset_mode=AutoresetMode.DISABLED)
    return GymWrapper(vector, categorical_action_encoding=True)


def make(policy: str, setting: str) -> Sampler:
    num_envs, mode = int(setting.split()[0]), setting.split()[2]
    network = nn.Sequential(nn.Linear(4, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    load_into(list(network.parameters()), policy)
    actor = ProbabilisticActor(
        TensorDictModule(network, ["observation"], ["logits"]), ["logits"], distribution_class=Categorical
    )
    collector = Collector(
        make_env(num_envs, mode),
        actor,
        frames_per_batch=num_envs * steps_per_env(num_envs),
        device="cpu",
        trust_policy=True,
        track_traj_ids=False,
    )
    batches = iter(collector)
    lengths = Lengths(num_envs)

    def collect() -> TensorDictBase:
        return next(batches)

    def count(batch: TensorDictBase) -> tuple[int, list[int]]:
        return lengths(batch["next", "done"].reshape(num_envs, -1).numpy().T)

    return Sampler(collect, count)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    Distribution.set_default_validate_args(False)
    settings = [f"{number} envs SyncVectorEnv" for number in (8, 32, 64, 128, 256, 512, 1024)]
    versions_of = ["torchrl", "tensordict", "torch", "gymnasium", "numpy"]
    serve(make, ["1 env SerialEnv", "32 envs SerialEnv", *settings], versions_of)
