"""Many runners of a sleeping environment against one, and at several policy lags against the simulator."""

import argparse
import time

from distpg.collector import Collector
from distpg.config import TrainConfig, resolve_config
from distpg.env_runners import env_runner_spec
from distpg.envs import env_spec, make_env
from distpg.messages import Rules
from distpg.policies import PolicySpec, initial_weights
from distpg.ray_cluster import ray_cluster
from distpg.seeding import environment_seed
from distpg.sleep_env import ENV_ID
from tests.faults.simulator import utilisation_of

POLICY = PolicySpec(1, 2, (8,))


def configuration(options: argparse.Namespace, runners: int, each: int, length: str, lag: int) -> TrainConfig:
    return resolve_config(
        TrainConfig(
            env_id=ENV_ID,
            env_kwargs={"step_ms": options.step_ms, "length": length, "mean": options.mean},
            episodes_per_iteration=runners * each,
            episodes_per_task=1,
            policy_lag=lag,
            env_reuse="always",
        ),
        None,
    )


def measured(config: TrainConfig, runners: int, first: int, last: int) -> tuple[float, float]:
    """Steps a second, and the share of the runners' time in use, between the ends of two iterations."""
    from distpg.ray_env_runners import RayEnvRunnerGroup

    rules = Rules(num_runners=runners, start_timeout_s=300)
    group = RayEnvRunnerGroup(env_runner_spec(config, POLICY), 1 / 32, rules, on_event=lambda event: None)
    group.wait_for(runners)
    collector, weights = Collector(config, group), initial_weights(POLICY.layer_sizes, 0)
    steps, ends = 0, []
    for iteration in range(last + 1):
        batch = collector.collect(iteration, weights)
        steps += batch.num_steps if iteration > first else 0
        now = time.monotonic()
        started = sum(now - runner.since for runner in group._dispatcher._fleet.working)
        ends.append((now, sum(group.times.sampling_s.values()) + started))
    group.close()
    (start, played_before), (end, played) = ends[first], ends[last]
    return steps / (end - start), (played - played_before) / (runners * (end - start))


def lengths_of(config: TrainConfig, count: int) -> list[int]:
    env = make_env(env_spec(config)).unwrapped
    found = []
    for episode in range(count):
        env.reset(seed=environment_seed(config.seed, episode))
        found.append(env._length)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-env-runners", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=5)
    parser.add_argument("--mean", type=int, default=40, help="length of an episode")
    parser.add_argument("--policy-lag", type=int, nargs="*", default=[0, 1, 2, 4])
    options = parser.parse_args()
    runners = options.num_env_runners
    with ray_cluster(None):
        one, _ = measured(configuration(options, 1, 4, "constant", 0), 1, 1, 5)
        many, _ = measured(configuration(options, runners, 4, "constant", 0), runners, 1, 9)
        print(
            f"{runners} runners, {4 * runners} episodes of {options.mean} steps of {options.step_ms:g} ms, "
            f"one a task: {many:,.0f} steps/s, one runner {one:,.1f}: "
            f"{100 * many / one / runners:.1f} % of {runners} times",
            flush=True,
        )
        for lag in options.policy_lag:
            config = configuration(options, runners, 16, "lognormal", lag)
            first, last = lag, 2 * lag + 4
            lengths = lengths_of(config, (last + lag + 1) * config.episodes_per_iteration)
            rate, share = measured(config, runners, first, last)
            simulated = utilisation_of(lengths, runners, 16, lag)
            print(
                f"lognormal lengths, 16 episodes a runner, lag {lag}: {100 * share:.1f} % of the runners' "
                f"time in use, {100 * simulated:.1f} % in the simulator ({rate:,.0f} steps/s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
