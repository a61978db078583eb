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

# The compiled sampler plays all the tasks of a call side by side.
SETTINGS = {
    "compiled": [f"compiled, {episodes} episodes" for episodes in (512, 2048, 8192)],
    "64 episodes a task": ["64 episodes a task"],
    "1 episode a task": ["1 episode a task"],
}


def make(policy: str, setting: str) -> Sampler:
    is_compiled = setting.startswith("compiled")
    episodes = int(setting.removeprefix("compiled, ").split()[0])
    info = inspect_env(EnvSpec("CartPole-v1"))
    spec = PolicySpec(info.observations.size, info.actions.sizes, (HIDDEN,))
    config = TrainConfig(sampler="compiled" if is_compiled else "gymnasium")
    runner = EnvRunner(env_runner_spec(config, spec))
    first = itertools.count(step=episodes)
    played_with = weights(policy)

    def collect() -> EpisodeBatch:
        return runner.sample(Task(next(first), episodes, 0), played_with)

    def count(batch: EpisodeBatch) -> tuple[int, list[int]]:
        return len(batch.actions), batch.lengths.tolist()

    return Sampler(collect, count)


if __name__ == "__main__":
    serve(make, SETTINGS, ["distpg", "gymnasium", "numba", "numpy"])
