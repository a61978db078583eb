"""How many seeds solve the environment, and after how many environment steps."""

import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common import parser_of_runs, train


def main() -> None:
    parser = parser_of_runs(__doc__, seeds=20)
    parser.add_argument("--within", type=int, default=150_000, help="environment steps that count as in time")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.workers) as pool:
        results = list(
            pool.map(lambda seed: train(Path(directory, str(seed)), seed, others), range(options.seeds))
        )
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
