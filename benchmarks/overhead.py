"""What Ray adds to an iteration: its time beyond the slower runner's own sampling."""

import argparse
import statistics

from benchmarks.common import ray_runners, seconds_to_play, untrained
from distpg.config.train_config import TrainConfig
from distpg.on_ray.cluster import ray_cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--episodes-per-iteration", type=int, default=4)
    parser.add_argument("--num-env-runners", type=int, default=2)
    options = parser.parse_args()

    policy, weights = untrained()
    beyond, sampling = [], []
    with ray_cluster(None) as cluster:
        cpus = min(1.0, cluster.num_cpus / options.num_env_runners)
        with ray_runners(TrainConfig(), policy, options.num_env_runners, cpus) as group:
            for iteration in range(options.iterations + 20):
                before = dict(group.times.sampling_s)
                wall = seconds_to_play(group, iteration, options.episodes_per_iteration, weights)
                after = group.times.sampling_s
                slower = max(seconds - before.get(runner, 0.0) for runner, seconds in after.items())
                if iteration >= 20:  # the first ones warm up
                    beyond.append(1000 * (wall - slower))
                    sampling.append(1000 * slower)
    quartiles = statistics.quantiles(beyond, n=4)
    print(
        f"{options.iterations} iterations of {options.episodes_per_iteration} episodes over "
        f"{options.num_env_runners} runners: {statistics.median(beyond):.2f} ms beyond the slower runner's "
        f"own sampling (quartiles {quartiles[0]:.2f} and {quartiles[2]:.2f}), which takes "
        f"{statistics.median(sampling):.2f} ms (medians)"
    )


if __name__ == "__main__":
    main()
