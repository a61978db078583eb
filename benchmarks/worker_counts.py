"""Whether every iteration's weights are the same at any number of runners."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import distpg
from distpg.ray_cluster import ray_cluster


def digests(run: Path) -> list[str]:
    return [json.loads(line)["weights_digest"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--max-iterations", type=int, default=40)
    parser.add_argument("--num-env-runners", type=int, nargs="+", default=[0, 1, 2, 3, 16])
    options = parser.parse_args()
    all_equal = True
    with tempfile.TemporaryDirectory() as directory, ray_cluster(None) as cluster:
        for baseline in ("none", "episode", "timestep"):
            for episodes, per_task in ((4, "auto"), (7, "auto"), (10, "auto"), (4, 2), (7, 2), (10, 2)):
                found = {}
                for number in options.num_env_runners:
                    run = Path(directory) / f"{baseline}-{episodes}-{per_task}-{number}"
                    distpg.train(
                        distpg.TrainConfig(
                            seed=options.seed,
                            max_iterations=options.max_iterations,
                            num_env_runners=number,
                            cpus_per_env_runner=min(1.0, cluster.num_cpus / max(number, 1)),
                            baseline=baseline,
                            episodes_per_iteration=episodes,
                            episodes_per_task=per_task,
                            run_dir=str(run),
                        )
                    )
                    found[number] = digests(run)
                first, *others = found.values()
                equal = all(other == first for other in others)
                all_equal &= equal
                print(
                    f"{baseline:>8} baseline, {episodes:>2} episodes an iteration, {per_task} a task: "
                    f"{len(first)} digests, last {first[-1]}, "
                    f"{'equal' if equal else 'DIFFERENT'} at {options.num_env_runners} runners",
                    flush=True,
                )
    sys.exit(0 if all_equal else 1)


if __name__ == "__main__":
    main()
