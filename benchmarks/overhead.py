"""What Ray adds to an iteration: its time beyond the slower runner's own sampling."""

import argparse
import statistics
import time

from distpg.config.train_config import TrainConfig
from distpg.core.policies import PolicySpec, initial_weights
from distpg.core.tasks import tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.environments.envs import EnvSpec, inspect_env
from distpg.on_ray.cluster import ray_cluster
from distpg.sampling.env_runner import env_runner_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--episodes-per-iteration", type=int, default=4)
    parser.add_argument("--num-env-runners", type=int, default=2)
    options = parser.parse_args()

    info = inspect_env(EnvSpec("CartPole-v1"))
    policy = PolicySpec(info.observation_size, info.num_actions, TrainConfig().hidden_sizes)
    weights = initial_weights(policy.layer_sizes, seed=0)
    beyond, sampling = [], []
    with ray_cluster(None) as cluster:
        from distpg.on_ray.group import RayEnvRunnerGroup

        cpus = min(1.0, cluster.num_cpus / options.num_env_runners)
        spec = env_runner_spec(TrainConfig(), policy)
        group = RayEnvRunnerGroup(spec, cpus, Rules(options.num_env_runners), on_event=lambda event: None)
        group.wait_for(options.num_env_runners)
        for iteration in range(options.iterations + 20):
            tasks = tasks_of_iteration(iteration, options.episodes_per_iteration, 1, iteration)
            before = dict(group.times.sampling_s)
            start = time.perf_counter()
            group.add(tasks, weights)
            group.collect(tasks)
            wall = time.perf_counter() - start
            slower = max(
                seconds - before.get(runner, 0.0) for runner, seconds in group.times.sampling_s.items()
            )
            if iteration >= 20:  # the first ones warm up
                beyond.append(1000 * (wall - slower))
                sampling.append(1000 * slower)
        group.close()
    quartiles = statistics.quantiles(beyond, n=4)
    print(
        f"{options.iterations} iterations of {options.episodes_per_iteration} episodes over "
        f"{options.num_env_runners} runners: {statistics.median(beyond):.2f} ms beyond the slower runner's "
        f"own sampling (quartiles {quartiles[0]:.2f} and {quartiles[2]:.2f}), which takes "
        f"{statistics.median(sampling):.2f} ms (medians)"
    )


if __name__ == "__main__":
    main()
