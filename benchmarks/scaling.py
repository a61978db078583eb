"""Many runners of a sleeping environment against one, and at several policy lags against the simulator."""

import argparse
import time

from benchmarks.common import ray_runners
from distpg.config.train_config import TrainConfig, resolve_config
from distpg.core.policies import PolicySpec
from distpg.core.seeding import environment_seed
from distpg.environments.envs import make_env
from distpg.environments.making import env_spec
from distpg.environments.sleep_env import ENV_ID
from distpg.on_ray.cluster import ray_cluster
from distpg.training.rollouts import Rollouts
from tests.faults.simulator import utilisation_of

POLICY = PolicySpec(1, (2,), (8,))


def configuration(
    options: argparse.Namespace, episodes: int, length: str, iterations: int, lag: int = 0
) -> TrainConfig:
    mean = options.mean if length == "constant" else options.lognormal_mean
    return resolve_config(
        TrainConfig(
            env_id=ENV_ID,
            env_kwargs={"step_ms": options.step_ms, "length": length, "mean": mean},
            episodes_per_iteration=episodes,
            episodes_per_task=1,
            policy_lag=lag,
            max_iterations=iterations,
            env_reuse="always",
        ),
        None,
    )


def group_of(runners: int, config: TrainConfig):
    return ray_runners(config, POLICY, runners, 1 / 32, start_timeout_s=300)


def measured(config: TrainConfig, group, start: int, first: int, last: int) -> tuple[float, float]:
    """Steps a second, and the share of the runners' time in use, between the ends of two iterations.

    Args:
        start: Iterations that the group has played before; the others count from there.
    """
    weights = POLICY.initial_weights(0)
    earlier = [weights] * min(start, config.policy_lag)
    rollouts = Rollouts(config, POLICY, group, iteration=start, earlier=earlier)
    steps, ends = 0, []
    for iteration in range(config.max_iterations - start):
        batch = rollouts.collect(start + iteration, weights)
        steps += batch.num_steps if first < iteration <= last else 0
        now = time.monotonic()
        runners = group._dispatcher._fleet._runners.values()
        started = sum(now - runner.since for runner in runners if runner.tasks)
        ends.append((now, sum(group.times.sampling_s.values()) + started))
    (begin, played_before), (end, played) = ends[first], ends[last]
    return steps / (end - begin), (played - played_before) / (group.num_healthy * (end - begin))


def lengths_of(config: TrainConfig, start: int) -> list[int]:
    """Of the episodes of the iterations from ``start`` on."""
    env = make_env(env_spec(config)).unwrapped
    found = []
    size = config.episodes_per_iteration
    for episode in range(start * size, config.max_iterations * size):
        env.reset(seed=environment_seed(config.seed, episode))
        found.append(env._length)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-env-runners", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=5)
    parser.add_argument("--mean", type=int, default=200, help="length of equal episodes, in steps")
    parser.add_argument("--lognormal-mean", type=int, default=40)
    parser.add_argument("--policy-lag", type=int, nargs="*", default=[0, 1, 2, 4])
    options = parser.parse_args()
    runners = options.num_env_runners
    with ray_cluster(None):
        rates = []
        for number in (1, runners):
            config = configuration(options, 4 * number, "constant", 8)
            with group_of(number, config) as group:
                rates.append(measured(config, group, 0, 1, 7)[0])
        one, many = rates
        print(
            f"{runners} runners, {4 * runners} episodes of {options.mean} steps of {options.step_ms:g} ms, "
            f"one a task: {many:,.0f} steps/s, one runner {one:,.1f}: "
            f"{100 * many / one / runners:.1f} % of {runners} times",
            flush=True,
        )
        if not options.policy_lag:
            return
        with group_of(runners, configuration(options, 16 * runners, "lognormal", 1)) as group:
            start = 0
            for lag in options.policy_lag:
                first, last = lag, 2 * lag + 4
                end = start + last + lag + 1
                config = configuration(options, 16 * runners, "lognormal", end, lag)
                simulated = utilisation_of(lengths_of(config, start), runners, 16, lag)
                rate, share = measured(config, group, start, first, last)
                start = end
                print(
                    f"lognormal lengths, 16 episodes a runner, lag {lag}: {100 * share:.1f} % of the "
                    f"runners' time in use, {100 * simulated:.1f} % in the simulator ({rate:,.0f} steps/s)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
