"""How long `distpg train` takes beside a process that only imports, and starts, the same libraries."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.commits import checkout

IMPORTS = "import torch, numba, gymnasium, matplotlib\n"
# As Ray is started without any option, and ends with the process.
RAY = """\
import ray
ray.init()

@ray.remote(num_cpus=0.5)
class Actor:
    def __init__(self):
        import gymnasium, numba

    def ready(self):
        pass

actors = [Actor.remote() for _ in range(2)]
ray.get([actor.ready.remote() for actor in actors])
"""
FLOORS = {0: IMPORTS, 2: IMPORTS + RAY}
SAMPLERS = ("gymnasium", "compiled")
EXPLANATION = """\
Medians of {rounds} rounds, in seconds: to the end of the first iteration, of training
alone (train_s of result.json), after the last iteration, and of the whole
command; what of this is neither of the floor nor training; the ratio's range.
"""


class Seconds(NamedTuple):
    """Of a command, and of the floor in the same round."""

    first: float
    train: float
    after: float
    whole: float
    floor: float


def environment(root: Path) -> dict[str, str]:
    # With a token in the variable Ray writes none into the home.
    return {**os.environ, "PYTHONPATH": str(root), "RAY_AUTH_TOKEN": "0" * 64}


def floor(runners: int) -> float:
    """Of a process that imports what a training imports, and starts as many actors on Ray."""
    for _ in range(3):  # where a machine is too busy, Ray gives up
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-c", FLOORS[runners]]
            start = time.time()
            ended = subprocess.run(
                command, cwd=directory, env=environment(Path(directory)), stderr=subprocess.PIPE
            )
            if ended.returncode == 0:
                return time.time() - start
    raise SystemExit(ended.stderr.decode())


def train(root: Path, runners: int, sampler: str, least: float) -> Seconds:
    """A checkout's command, with the defaults until CartPole-v1 is solved."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory, "run")
        options = ["--num-env-runners", str(runners), "--sampler", sampler, "--run-dir", str(run)]
        command = [sys.executable, "-m", "distpg", "train", *options]
        start, first = time.time(), 0.0
        with subprocess.Popen(
            command, cwd=directory, env=environment(root), stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not first and line.startswith(b"iteration "):
                    first = time.time() - start
        end = time.time()
        if process.returncode != 0:
            raise SystemExit(f"distpg train ended with exit code {process.returncode}")
        last = (run / "metrics.jsonl").stat().st_mtime
        train_s = json.loads((run / "result.json").read_text(encoding="utf-8"))["train_s"]
    return Seconds(first, train_s, end - last, end - start, least)


def rounds(roots: Sequence[Path], runners: int, number: int) -> Iterator[dict[tuple[str, Path], Seconds]]:
    """The floor, then each sampler and checkout, in turn; the first round warms the caches."""
    for index in range(-1, number):
        least = floor(runners)
        found = {
            (sampler, root): train(root, runners, sampler, least) for sampler in SAMPLERS for root in roots
        }
        if index >= 0:
            yield found


def line(name: str, found: Sequence[Seconds]) -> str:
    first, train_s, after, whole, _ = (statistics.median(column) for column in zip(*found, strict=True))
    rest = statistics.median(each.whole - each.train - each.floor for each in found)
    ratios = sorted(each.whole / each.floor for each in found)
    cells = "".join(f"{value:8.2f}" for value in (first, train_s, after, whole, rest))
    return f"{name:20.20}{cells}   {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent.parent
    parser.add_argument("checkouts", type=checkout, nargs="*", default=[here], help="default: this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--num-env-runners", type=int, nargs="+", choices=FLOORS, default=list(FLOORS))
    options = parser.parse_args()
    print(EXPLANATION.format(rounds=options.rounds))
    for runners in options.num_env_runners:
        found = list(rounds(options.checkouts, runners, options.rounds))
        floors = [next(iter(each.values())).floor for each in found]
        print(
            f"{runners} runners, floor {statistics.median(floors):.2f} ({min(floors):.2f}-{max(floors):.2f})"
        )
        print(f"{'':20}{'first':>8}{'train_s':>8}{'after':>8}{'whole':>8}{'rest':>8}   whole/floor")
        for sampler, root in found[0]:
            name = sampler if len(options.checkouts) == 1 else f"{sampler} {root.name}"
            print(line(name, [each[sampler, root] for each in found]), flush=True)


if __name__ == "__main__":
    main()
