"""Trains while runners and nodes are killed, frozen, slowed and made to fail; then compares every digest."""

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.chaos import Chaos
from benchmarks.common import digests, metrics, start_distpg
from distpg.dispatch.flight_recorder import differences

Process = subprocess.Popen[bytes]

# Without a baseline every iteration has something to learn, also at the top.
OPTIONS = [
    *("--env-id", "benchmarks.chaos:ChaosCartPole-v0", "--env-reuse", "always"),
    *("--baseline", "none", "--lr", "0.001", "--episodes-per-iteration", "12"),
    *("--stop-return", "none", "--max-env-steps", "none"),
    *("--checkpoint-every", "200", "--audit-every", "200"),
]


# A caller's own Ray, but for the pages that it prints about each worker that is gone.
CALLER = """
import logging, os, sys
import ray
from ray._private import worker
worker.print_to_stdstream = lambda *arguments, **more: None
ray.init(address=os.environ["SOAK_ADDRESS"], logging_level=logging.CRITICAL, log_to_driver=False)
from distpg.commands.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(run: Path, kwargs: dict[str, Any], *options: str, program: str | None = None) -> Process:
    given = json.dumps(kwargs)
    arguments = ["train", "--run-dir", str(run), *OPTIONS, "--env-kwargs", given, *options]
    return start_distpg(*arguments, program=program)


def stop(process: Process) -> None:
    process.send_signal(signal.SIGINT)
    if process.wait() != 130:
        raise SystemExit(f"training ended with exit code {process.returncode}")


def wait_for_iteration(run: Path, process: Process) -> None:
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_bytes().endswith(b"\n"):
        if process.poll() is not None:
            raise SystemExit("training did not start")
        time.sleep(0.1)


def steps_per_s(run: Path, seconds: float) -> float:
    return metrics(run)[-1]["num_env_steps_sampled_lifetime"] / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=2.0)
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--seconds-per-fault", type=float, default=1.5)
    parser.add_argument("--calm-seconds", type=float, default=20, help="of training to compare with")
    parser.add_argument("--num-env-runners", type=int, default=6)
    options = parser.parse_args()
    # Niceness as on a cluster that distpg starts: else runners starve where a machine has other work.
    os.environ.update(
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_worker_niceness="0",
        PYTHONHASHSEED="0",
        PYTHONPATH=str(Path.cwd()),
    )
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as directory:
        sys.exit(0 if soak(Path(directory), options, Cluster) else 1)


class Phase(NamedTuple):
    """A part of the storm, and a run: in a caller's own Ray or by --address, of a slow environment or not."""

    is_callers: bool
    is_slow: bool

    def __str__(self) -> str:
        where = "a caller's own Ray" if self.is_callers else "--address"
        return f"{where}, {'slow' if self.is_slow else 'quick'} environment"


def phases_of(minutes: float, rng: random.Random) -> list[Phase]:
    """Of about five minutes each; of two in a row one is in a caller's Ray, and one is slow."""
    found: list[Phase] = []
    while len(found) < 2 or 5 * len(found) < minutes:
        callers, slow = rng.random() < 0.5, rng.random() < 0.5
        found += [Phase(callers, slow), Phase(not callers, not slow)]
    return found


def soak(directory: Path, options: argparse.Namespace, new_cluster: Any) -> bool:
    """Whether no digest and no command of the dispatcher differs."""
    order, calm, again = (directory / name for name in ("order", "calm", "again"))
    cluster = new_cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    os.environ["SOAK_ADDRESS"] = cluster.address
    attached = ("--address", cluster.address)
    runners = [
        *("--num-env-runners", str(options.num_env_runners), "--cpus-per-env-runner", "0.5"),
        *("--sample-timeout-s", "3"),
    ]
    process = start(calm, {"order": str(order)}, *runners, *attached)
    wait_for_iteration(calm, process)
    time.sleep(options.calm_seconds)
    stop(process)
    chaos = Chaos(cluster, order, options.seconds_per_fault, options.seed)
    phases = phases_of(options.minutes, random.Random(options.seed))
    stormy, seconds = [directory / f"stormy-{number}" for number in range(len(phases))], []
    for run, phase in zip(stormy, phases, strict=True):
        kwargs = {"order": str(order)} | ({"slow_seed": options.seed} if phase.is_slow else {})
        where = () if phase.is_callers else attached
        recording = ("--record-dispatch", str(run.with_suffix(".jsonl")))
        program = CALLER if phase.is_callers else None
        print(f"{60 * options.minutes / len(phases):.0f} s of faults: {phase} ...", flush=True)
        process = start(run, kwargs, *runners, *where, *recording, program=program)
        wait_for_iteration(run, process)
        began = time.monotonic()
        chaos.rage(60 * options.minutes / len(phases), lambda process=process: process.poll() is None)
        seconds.append(time.monotonic() - began)
        stop(process)
        order.unlink(missing_ok=True)
    cluster.shutdown()
    report(chaos, calm, dict(zip(stormy, seconds, strict=True)), phases, options.minutes)
    found = [difference for run in stormy for difference in differences(run.with_suffix(".jsonl"))]
    same = not any(found)
    print(f"flight recording: {len(found)} reports, commands {'equal' if same else 'DIFFERENT'}")
    disturbed = [digests(run) for run in stormy]
    longest = max(map(len, disturbed))
    print(f"playing the same {longest} iterations again, undisturbed ...", flush=True)
    start(again, {"order": str(order)}, "--num-env-runners", "0", "--max-iterations", str(longest)).wait()
    undisturbed = digests(again)
    equal = all(lines == undisturbed[: len(lines)] for lines in disturbed)
    print(
        f"digests of all {sum(map(len, disturbed))} iterations ({len(set(undisturbed))} different ones): "
        f"{'equal' if equal else 'DIFFERENT'}"
    )
    return equal and same


def report(chaos: Chaos, calm: Path, stormy: dict[Path, float], phases: list[Phase], minutes: float) -> None:
    print(f"{sum(chaos.faults.values())} faults in {minutes:g} minutes:")
    for name, count in sorted(chaos.faults.items()):
        print(f"  {name:<32}{count:>6}")
    print("what distpg noticed and did:")
    lines = [line for run in stormy for line in (run / "events.jsonl").read_text().splitlines()]
    for name, count in sorted(Counter(json.loads(line)["event"] for line in lines).items()):
        print(f"  {name:<32}{count:>6}")
    peace = steps_per_s(calm, metrics(calm)[-1]["time_total_s"])
    usual = max(line["time_sample_s"] for line in metrics(calm))
    for (run, seconds), phase in zip(stormy.items(), phases, strict=True):
        storm, longest = steps_per_s(run, seconds), max(line["time_sample_s"] for line in metrics(run))
        print(
            f"steps/s: {storm:,.0f} under faults ({phase}), {peace:,.0f} undisturbed "
            f"({100 * (1 - storm / peace):.0f} % lost); "
            f"longest iteration {longest:.1f} s, undisturbed {usual:.1f} s"
        )


if __name__ == "__main__":
    main()
