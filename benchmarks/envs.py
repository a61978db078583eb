"""Environments of every kind, with the defaults: steps to a threshold, digests at any number of runners."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.common import digests, metrics, train


class Problem(NamedTuple):
    """An environment, what counts as solved, and how many environment steps that may take."""

    env_id: str
    threshold: float
    max_env_steps: int
    env_kwargs: Mapping[str, Any] = MappingProxyType({})

    @property
    def options(self) -> list[str]:
        return ["--env-id", self.env_id, "--env-kwargs", json.dumps(dict(self.env_kwargs))]


PROBLEMS = [
    Problem("CartPole-v1", 475, 500_000),
    Problem("Acrobot-v1", -100, 1_000_000),
    Problem("LunarLander-v3", 200, 3_000_000),
    Problem("Pendulum-v1", -250, 2_000_000),
    Problem("Taxi-v4", 7, 1_000_000),
    Problem("FrozenLake-v1", 0.7, 200_000, {"is_slippery": False}),
    Problem("MountainCarContinuous-v0", 90, 1_000_000),
    Problem("InvertedPendulum-v5", 950, 1_000_000),
    # What always standing at 17 and above is worth is about -0.08.
    Problem("Blackjack-v1", -0.08, 500_000),
]


class Outcome(NamedTuple):
    """Of a seed: steps and seconds to the threshold or the end, and the best mean of 100 episodes."""

    solved: bool
    env_steps: int
    seconds: float
    best: float


def outcome(directory: Path, problem: Problem, seed: int, others: list[str]) -> Outcome:
    run = directory / f"{problem.env_id.replace('/', '-')}-{seed}"
    limits = ["--stop-return", str(problem.threshold), "--max-env-steps", str(problem.max_env_steps)]
    result = train(run, seed, [*problem.options, *limits, *others])
    lines = metrics(run)
    enough = [line for line in lines if line["num_episodes_lifetime"] >= 100] or lines[-1:]
    last = lines[-1]
    return Outcome(
        result["solved"],
        last["num_env_steps_sampled_lifetime"],
        result["train_s"],
        max(line["episode_return_mean_100"] for line in enough),
    )


def is_equal(directory: Path, problem: Problem, others: list[str]) -> bool:
    """Whether 0, 1 and 3 runners and a resumed run train to the same weights."""
    name = problem.env_id.replace("/", "-")
    common = [*problem.options, "--stop-return", "none", *others]
    found = []
    for runners in (0, 1, 3):
        run = directory / f"{name}-runners-{runners}"
        _distpg(
            "train",
            *common,
            "--max-iterations",
            "6",
            "--num-env-runners",
            str(runners),
            "--run-dir",
            str(run),
        )
        found.append(digests(run))
    run = directory / f"{name}-resumed"
    _distpg("train", *common, "--max-iterations", "3", "--num-env-runners", "0", "--run-dir", str(run))
    _distpg("resume", str(run), "--max-iterations", "6")
    found.append(digests(run))
    return all(one == found[0] for one in found) and len(found[0]) == 6


def _distpg(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "distpg", *arguments, "--quiet"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=f"{__doc__} Other options go to `distpg train`.")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", nargs="*", default=[], help="environments; default: all")
    parser.add_argument("--no-digests", action="store_true", help="leave the comparison of digests out")
    options, others = parser.parse_known_args()
    wanted = [problem for problem in PROBLEMS if not options.only or problem.env_id in options.only]
    print("| environment | threshold | solved | steps: median (min to max) | seconds | best mean | digests |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.workers) as pool:
        directory = Path(name)
        for problem in wanted:
            found = list(
                pool.map(lambda seed, p=problem: outcome(directory, p, seed, others), range(options.seeds))
            )
            steps = [one.env_steps for one in found]
            equal = (
                "-" if options.no_digests else "equal" if is_equal(directory, problem, others) else "DIFFER"
            )
            best = [one.best for one in found]
            print(
                f"| {problem.env_id} | {problem.threshold:g} "
                f"| {sum(one.solved for one in found)} of {len(found)} "
                f"| {statistics.median(steps):,.0f} ({min(steps):,} to {max(steps):,}) "
                f"| {statistics.median(one.seconds for one in found):.0f} "
                f"| {statistics.median(best):.5g} ({min(best):.5g} to {max(best):.5g}) | {equal} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
