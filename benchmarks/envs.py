"""Environments of every kind with the defaults, beside A2C; --third-party: those of other packages."""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.common import digests, metrics, train
from benchmarks.venvs import run_in

# The default of --max-env-steps.
MAX_ENV_STEPS = 1_000_000


class Problem(NamedTuple):
    """An environment, and the mean return of so many episodes in a row that counts as solved."""

    env_id: str
    threshold: float
    env_kwargs: Mapping[str, Any] = MappingProxyType({})
    max_env_steps: int = MAX_ENV_STEPS

    @property
    def options(self) -> list[str]:
        return ["--env-id", self.env_id, "--env-kwargs", json.dumps(dict(self.env_kwargs))]

    @property
    def never(self) -> bool:
        """Whether nothing counts as solved."""
        return self.threshold == float("inf")


# Thresholds are Gymnasium's own but for Pendulum, which has none, as Blackjack, where 100 hands say nothing.
PROBLEMS = [
    Problem("CartPole-v1", 475),
    Problem("Acrobot-v1", -100),
    Problem("LunarLander-v3", 200),
    Problem("Pendulum-v1", -250),
    Problem("Taxi-v4", 8),
    Problem("FrozenLake-v1", 0.7, {"is_slippery": False}),
    Problem("MountainCarContinuous-v0", 90),
    Problem("InvertedPendulum-v5", 950),
    Problem("Blackjack-v1", float("inf"), max_env_steps=200_000),
]


class Outcome(NamedTuple):
    """Of a seed: steps and seconds to the threshold or the end, and the return of each episode."""

    solved: bool
    env_steps: int
    seconds: float
    returns: list[float]

    def reached(self, problem: Problem) -> float:
        """The best mean of 100 episodes in a row; of 10,000 at the end where nothing counts as solved."""
        if problem.never:
            return statistics.fmean(self.returns[-10_000:])
        number = min(100, len(self.returns))
        sums = [0.0]
        for value in self.returns:
            sums.append(sums[-1] + value)
        return max(sums[k] - sums[k - number] for k in range(number, len(sums))) / number


def of_distpg(directory: Path, problem: Problem, seed: int, others: list[str]) -> Outcome:
    run = directory / f"{problem.env_id.replace('/', '-')}-{seed}"
    stop = "none" if problem.never else str(problem.threshold)
    limits = ["--stop-return", stop, "--max-env-steps", str(problem.max_env_steps)]
    result = train(run, seed, [*problem.options, *limits, *others])
    with (run / "episodes.csv").open(encoding="utf-8") as file:
        returns = [float(line["episode_return"]) for line in csv.DictReader(file)]
    steps = metrics(run)[-1]["num_env_steps_sampled_lifetime"]
    return Outcome(result["solved"], steps, result["train_s"], returns)


def of_sb3(problem: Problem, seed: int) -> Outcome:
    arguments = [problem.env_id, json.dumps(dict(problem.env_kwargs)), str(seed), str(problem.threshold)]
    command = [sys.executable, "-m", "benchmarks.sb3_a2c", *arguments, str(problem.max_env_steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def is_equal(directory: Path, problem: Problem, others: list[str]) -> bool:
    """Whether 0, 1 and 3 runners and a resumed run train to the same weights."""
    name = problem.env_id.replace("/", "-")
    common = [*problem.options, "--stop-return", "none", *others]
    found = []
    for runners in (0, 1, 3):
        run = directory / f"{name}-runners-{runners}"
        numbers = ["--max-iterations", "6", "--num-env-runners", str(runners)]
        distpg("train", *common, *numbers, "--run-dir", str(run))
        found.append(digests(run))
    run = directory / f"{name}-resumed"
    distpg("train", *common, "--max-iterations", "3", "--num-env-runners", "0", "--run-dir", str(run))
    distpg("resume", str(run), "--max-iterations", "6")
    found.append(digests(run))
    return all(one == found[0] for one in found) and len(found[0]) == 6


def distpg(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "distpg", *arguments, "--quiet"], check=True)


def cells(problem: Problem, found: list[Outcome]) -> str:
    """Seeds that solved it, then medians and ranges."""
    steps = [one.env_steps / 1000 for one in found]
    best = [one.reached(problem) for one in found]
    solved = "-" if problem.never else f"{sum(one.solved for one in found)} of {len(found)}"
    seconds = statistics.median(one.seconds for one in found)
    return (
        f"{solved} | {statistics.median(steps):,.0f}k ({min(steps):,.0f} to {max(steps):,.0f}) "
        f"| {seconds:.0f} | {statistics.median(best):.3g} ({min(best):.3g} to {max(best):.3g})"
    )


def print_table(options: argparse.Namespace, others: list[str], directory: Path) -> None:
    wanted = [problem for problem in PROBLEMS if not options.only or problem.env_id in options.only]
    print("| environment, threshold | by | solved | steps: median, range | seconds | mean return | digests |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(options.workers) as pool:

        def outcomes(of: Callable[[int], Outcome]) -> list[Outcome]:
            return list(pool.map(of, range(options.seeds)))

        for problem in wanted:
            name = problem.env_id if problem.never else f"{problem.env_id}, {problem.threshold:g}"
            found = outcomes(lambda seed, p=problem: of_distpg(directory, p, seed, others))
            equal = "-"
            if not options.no_digests:
                equal = "equal" if is_equal(directory, problem, others) else "DIFFER"
            print(f"| {name} | distpg | {cells(problem, found)} | {equal} |", flush=True)
            if not options.no_peer:
                found = outcomes(lambda seed, p=problem: of_sb3(p, seed))
                print(f"| | A2C | {cells(problem, found)} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=f"{__doc__} Other options go to `distpg train`.")
    parser.add_argument("--third-party", action="store_true", help="the second table, of other packages")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", nargs="*", default=[], help="environments; default: all")
    parser.add_argument("--no-digests", action="store_true", help="leave the comparison of digests out")
    parser.add_argument("--no-peer", action="store_true", help="leave A2C out")
    options, others = parser.parse_known_args()
    run_in("third_party" if options.third_party else "envs", "benchmarks.envs", sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        if options.third_party:
            from benchmarks.third_party import print_table as print_third_party

            print_third_party(options.only, others, Path(name))
        else:
            print_table(options, others, Path(name))


if __name__ == "__main__":
    main()
