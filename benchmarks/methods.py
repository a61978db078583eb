"""Whether every policy learns with every baseline and kind of return: steps to solve, or how far it came."""

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common import metrics, parser_of_runs, train

POLICIES = ("linear", "polynomial", "mlp")
BASELINES = ("none", "episode", "batch", "timestep", "value")
RETURNS = ("to-go", "total")
# The episode mean of total returns is the return itself: nothing is left, and distpg refuses it.
METHODS = [
    method for method in itertools.product(POLICIES, BASELINES, RETURNS) if method[1:] != ("episode", "total")
]
# The variance of returns without a baseline is several times larger: a rate of 0.02 throws a network off.
LEARNING_RATES = {("mlp", "none"): "0.005"}


def run(directory: Path, seed: int, options: list[str]) -> dict:
    found = train(directory, seed, options)
    means = [line["episode_return_mean_100"] for line in metrics(directory)]
    return {**found, "first": means[24] if len(means) > 24 else means[-1], "best": max(means)}


def options_of(policy: str, baseline: str, returns: str) -> list[str]:
    method = ["--policy", policy, "--baseline", baseline, "--returns", returns]
    lr = LEARNING_RATES.get((policy, baseline))
    return method if lr is None else [*method, "--lr", lr]


def describe(result: dict) -> str:
    if result["solved"]:
        return f"{result['env_steps_to_solve'] / 1000:,.0f}k"
    return f"({result['first']:.0f} → {result['best']:.0f})"


def main() -> None:
    parser = parser_of_runs(__doc__, seeds=3)
    parser.add_argument("--max-env-steps", type=int, default=300_000)
    options, others = parser.parse_known_args()
    print("In each cell: thousands of environment steps to solve; unsolved: mean return of 100 episodes,")
    print("after 25 iterations and at its best.\n")
    print("| policy | baseline | returns | " + " | ".join(f"seed {s}" for s in range(options.seeds)) + " |")
    print("|---" * (3 + options.seeds) + "|", flush=True)
    limit = ["--max-env-steps", str(options.max_env_steps), *others]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.workers) as pool:
        jobs = {
            method: [
                pool.submit(
                    run,
                    Path(directory, "-".join(method), str(seed)),
                    seed,
                    [*options_of(*method), *limit],
                )
                for seed in range(options.seeds)
            ]
            for method in METHODS
        }
        for method, results in jobs.items():
            cells = [*method, *(describe(job.result()) for job in results)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
