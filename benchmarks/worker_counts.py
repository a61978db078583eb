"""Whether every iteration's weights are the same at any number of runners."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import distpg
from benchmarks.common import digests
from benchmarks.methods import BASELINES, METHODS
from distpg.on_ray.cluster import RayCluster, cpus_per_env_runner, ray_cluster

SIZES = [(4, "auto"), (7, "auto"), (10, "auto"), (4, 2), (7, 2), (10, 2)]


def cases() -> Iterator[dict]:
    """Every baseline with several sizes, then every method that there is."""
    for baseline in BASELINES:
        for episodes, per_task in SIZES:
            yield {
                "baseline": baseline,
                "episodes_per_iteration": episodes,
                "episodes_per_task": per_task,
            }
    for lag in (1, 2, 4):
        yield {"policy_lag": lag}
    for policy, baseline, returns in METHODS:
        yield {"policy": policy, "baseline": baseline, "returns": returns}


def trained(cluster: RayCluster, directory: Path, number: int, options: dict) -> list[str]:
    """The digests of a run at this number of runners."""
    run = directory / str(number)
    cpus = cpus_per_env_runner(cluster, max(number, 1), 1.0)
    distpg.train(
        distpg.TrainConfig(
            num_env_runners=number, cpus_per_env_runner=cpus, run_dir=str(run), checkpoint_every=0, **options
        )
    )
    return digests(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--max-iterations", type=int, default=40)
    parser.add_argument("--num-env-runners", type=int, nargs="+", default=[0, 1, 2, 3, 16])
    parser.add_argument("--only", choices=["sizes", "methods"], help="one half of the cases")
    options = parser.parse_args()
    common = {"seed": options.seed, "max_iterations": options.max_iterations}
    all_equal = True
    with tempfile.TemporaryDirectory() as directory, ray_cluster(None) as cluster:
        for index, case in enumerate(cases()):
            if options.only not in (None, "methods" if "policy" in case else "sizes"):
                continue
            found = [
                trained(cluster, Path(directory, str(index)), number, {**common, **case})
                for number in options.num_env_runners
            ]
            equal = all(other == found[0] for other in found)
            all_equal &= equal
            print(
                f"{'equal' if equal else 'DIFFERENT'} at {options.num_env_runners} runners: {len(found[0])} "
                f"digests, last {found[0][-1]}, {' '.join(f'{k}={v}' for k, v in case.items())}",
                flush=True,
            )
    sys.exit(0 if all_equal else 1)


if __name__ == "__main__":
    main()
