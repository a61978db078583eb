"""The sampler with its policy against the bare loop over env.step without any."""

import argparse
import statistics
import time

import gymnasium

from benchmarks.common import untrained
from distpg.core.policies import PolicySpec, Weights
from distpg.core.seeding import environment_seed
from distpg.environments.envs import inspect_env, make_env, without_wrappers
from distpg.environments.making import EnvSpec
from distpg.sampling.gymnasium_sampler import GymnasiumSampler

EPISODES = 256


def bare_loop(env: gymnasium.Env, seeds: list[int], actions: list[list[int]]) -> float:
    """Steps a second of the same episodes, with their actions known."""
    steps, start = 0, time.perf_counter()
    for seed, chosen in zip(seeds, actions, strict=True):
        env.reset(seed=seed)
        for action in chosen:
            env.step(action)
        steps += len(chosen)
    return steps / (time.perf_counter() - start)


def sampled(sampler: GymnasiumSampler, weights: Weights, per_task: int, episodes: int) -> float:
    start = time.perf_counter()
    steps = sum(
        len(sampler.sample(first, min(per_task, episodes - first), weights).rewards)
        for first in range(0, episodes, per_task)
    )
    return steps / (time.perf_counter() - start)


def upright(policy: PolicySpec) -> Weights:
    """Weights that push the cart the way the pole falls, so that episodes are long."""
    weights = policy.initial_weights(0)
    first, last = weights["layers.0.weight"], weights["layers.1.weight"]
    first[:2], last[:] = 0, 0
    first[0, 2:], first[1, 2:] = (-1, -1), (1, 1)
    last[0, 0] = last[1, 1] = 20
    for name in ("layers.0.bias", "layers.1.bias"):
        weights[name][:] = 0
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-id", default="CartPole-v1")
    parser.add_argument("--episodes-per-task", type=int, nargs="+", default=[64, 8, 1])
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    spec = EnvSpec(options.env_id)
    info = inspect_env(spec)
    policy, first_weights = untrained(options.env_id)
    sampler = GymnasiumSampler(spec, policy, seed=0)
    env = make_env(spec)
    policies = {"untrained": first_weights}
    if options.env_id == "CartPole-v1":
        policies["upright"] = upright(policy)
    for name, weights in policies.items():
        episodes = EPISODES if name == "untrained" else EPISODES // 4
        played = sampler.sample(0, episodes, weights)
        ends = played.lengths.cumsum().tolist()
        chosen = [
            info.actions.decode(played.actions[end - length : end, None])
            for end, length in zip(ends, played.lengths.tolist(), strict=True)
        ]
        seeds = [environment_seed(0, episode) for episode in range(episodes)]
        rates: dict[str, list[float]] = {}
        for _ in range(options.repetitions):
            rates.setdefault("bare", []).append(bare_loop(env, seeds, chosen))
            rates.setdefault("unwrapped", []).append(bare_loop(without_wrappers(env)[0], seeds, chosen))
            for per_task in options.episodes_per_task:
                rates.setdefault(str(per_task), []).append(sampled(sampler, weights, per_task, episodes))
        medians = {key: statistics.median(values) for key, values in rates.items()}
        print(
            f"{options.env_id}, {name} policy, episodes of {played.lengths.mean():.0f} steps: "
            f"bare env.step loop without a policy {medians['bare']:,.0f} steps/s, "
            f"without its wrappers {medians['unwrapped']:,.0f}"
        )
        for per_task in options.episodes_per_task:
            ratios = [mine / bare for mine, bare in zip(rates[str(per_task)], rates["bare"], strict=True)]
            print(
                f"  {per_task:>2} episodes a task: {medians[str(per_task)]:>9,.0f} steps/s, "
                f"{statistics.median(ratios):.2f} of the bare loop ({min(ratios):.2f} to {max(ratios):.2f}), "
                f"{medians[str(per_task)] / medians['unwrapped']:.2f} of the unwrapped one",
                flush=True,
            )
    sampler.close()


if __name__ == "__main__":
    main()
