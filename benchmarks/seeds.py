"""How many seeds solve the environment, and after how many environment steps."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run(seed: int, directory: Path, options: list[str]) -> dict:
    # In one process each: no number of runners changes the result.
    path = directory / str(seed)
    command = [sys.executable, "-m", "distpg", "train", "--num-env-runners", "0", "--quiet"]
    subprocess.run([*command, "--seed", str(seed), "--run-dir", str(path), *options], check=True)
    return json.loads((path / "result.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=f"{__doc__} Other options go to `distpg train`.")
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--within", type=int, default=150_000, help="environment steps that count as in time")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.workers) as pool:
        results = list(pool.map(lambda seed: run(seed, Path(directory), others), range(options.seeds)))
    steps = [result["env_steps_to_solve"] for result in results]
    for seed, count in enumerate(steps):
        print(f"seed {seed:>3}: {'not solved' if count is None else f'{count:,} steps'}")
    solved = [count for count in steps if count is not None]
    in_time = sum(count <= options.within for count in solved)
    print(f"{in_time} of {options.seeds} seeds solved within {options.within:,} environment steps")
    if solved:
        print(f"steps to solve: median {statistics.median(solved):,.0f}, {min(solved):,} to {max(solved):,}")


if __name__ == "__main__":
    main()
