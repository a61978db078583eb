"""distpg: an EnvRunner in this process, as with --num-env-runners 0."""

from __future__ import annotations

import itertools

from benchmarks.peer_samplers.serving import HIDDEN, Sampler, serve, weights
from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec
from distpg.core.tasks import Task
from distpg.environments.envs import inspect_env
from distpg.environments.making import EnvSpec
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.runner_spec import env_runner_spec


def make(policy: str, setting: str) -> Sampler:
    episodes = int(setting.split()[0])
    info = inspect_env(EnvSpec("CartPole-v1"))
    spec = PolicySpec(info.observations.size, info.actions.sizes, (HIDDEN,))
    runner = EnvRunner(env_runner_spec(TrainConfig(), spec))
    first = itertools.count(step=episodes)
    played_with = weights(policy)

    def collect() -> EpisodeBatch:
        return runner.sample(Task(next(first), episodes, 0), played_with)

    def count(batch: EpisodeBatch) -> tuple[int, list[int]]:
        return len(batch.actions), batch.lengths.tolist()

    return Sampler(collect, count)


if __name__ == "__main__":
    serve(make, ["64 episodes a task", "1 episode a task"], ["distpg", "gymnasium", "numpy"])
