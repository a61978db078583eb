"""Trains while runners and nodes are killed, frozen, slowed and made to fail; then compares every digest."""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos import Chaos
from benchmarks.common import digests, metrics, start_distpg
from distpg.dispatch.flight_recorder import differences

# Without a baseline every iteration has something to learn, also at the top.
OPTIONS = [
    *("--env-id", "benchmarks.chaos:ChaosCartPole-v0", "--env-reuse", "always"),
    *("--baseline", "none", "--lr", "0.001", "--episodes-per-iteration", "12"),
    *("--stop-return", "none", "--max-env-steps", "none"),
    *("--checkpoint-every", "200", "--audit-every", "200"),
]


def start(run: Path, order: Path, *options: str) -> subprocess.Popen[bytes]:
    kwargs = json.dumps({"order": str(order)})
    return start_distpg("train", "--run-dir", str(run), *OPTIONS, "--env-kwargs", kwargs, *options)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    if process.wait() != 130:
        raise SystemExit(f"training ended with exit code {process.returncode}")


def wait_for_iteration(run: Path, process: subprocess.Popen[bytes]) -> None:
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
        calm, stormy, again = (Path(directory, name) for name in ("calm", "stormy", "again"))
        order = Path(directory, "order")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20}
        )
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        runners = [
            *("--address", cluster.address, "--num-env-runners", str(options.num_env_runners)),
            *("--cpus-per-env-runner", "0.5", "--sample-timeout-s", "3"),
        ]
        process = start(calm, order, *runners)
        wait_for_iteration(calm, process)
        time.sleep(options.calm_seconds)
        stop(process)
        recording = Path(directory, "dispatch.jsonl")
        process = start(stormy, order, *runners, "--record-dispatch", str(recording))
        wait_for_iteration(stormy, process)
        began = time.monotonic()
        chaos = Chaos(cluster, order, options.seconds_per_fault, options.seed)
        chaos.rage(60 * options.minutes, lambda: process.poll() is None)
        stormy_s = time.monotonic() - began
        stop(process)
        cluster.shutdown()
        order.unlink(missing_ok=True)
        report(chaos, calm, stormy, stormy_s, options.minutes)
        found = list(differences(recording))
        same = not any(found)
        print(f"flight recording: {len(found)} reports, commands {'equal' if same else 'DIFFERENT'}")
        disturbed = digests(stormy)
        print(f"playing the same {len(disturbed)} iterations again, undisturbed ...", flush=True)
        start(again, order, "--num-env-runners", "0", "--max-iterations", str(len(disturbed))).wait()
        equal = disturbed == digests(again)
        print(
            f"digests of all {len(disturbed)} iterations ({len(set(disturbed))} different ones): "
            f"{'equal' if equal else 'DIFFERENT'}"
        )
    sys.exit(0 if equal and same else 1)


def report(chaos: Chaos, calm: Path, stormy: Path, stormy_s: float, minutes: float) -> None:
    print(f"{sum(chaos.faults.values())} faults in {minutes:g} minutes:")
    for name, count in sorted(chaos.faults.items()):
        print(f"  {name:<32}{count:>6}")
    print("what distpg noticed and did:")
    events = [json.loads(line)["event"] for line in (stormy / "events.jsonl").read_text().splitlines()]
    for name, count in sorted(Counter(events).items()):
        print(f"  {name:<32}{count:>6}")
    storm = steps_per_s(stormy, stormy_s)
    peace = steps_per_s(calm, metrics(calm)[-1]["time_total_s"])
    longest, usual = (max(line["time_sample_s"] for line in metrics(run)) for run in (stormy, calm))
    print(
        f"steps/s: {storm:,.0f} under faults, {peace:,.0f} undisturbed "
        f"({100 * (1 - storm / peace):.0f} % lost); "
        f"longest iteration {longest:.1f} s, undisturbed {usual:.1f} s"
    )


if __name__ == "__main__":
    main()
