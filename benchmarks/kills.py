"""Whether a run that is killed at random moments, and resumed each time, is the run that never was."""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.common import metrics, result, start_distpg

# What may differ: times, and how many runners there were.
IGNORED = {
    *("env_steps_per_s", "episodes_per_s", "time_sample_s", "time_learn_s", "time_total_s"),
    *("num_healthy_env_runners", "num_env_runner_restarts"),
}
METHODS = [
    [*("--baseline", baseline, "--optimiser", optimiser), *schedule]
    for baseline in ("none", "episode", "batch", "timestep", "value")
    for optimiser in ("adam", "sgd")
    for schedule in (
        [],
        ["--lr-schedule", "linear", "--lr-decay-env-steps", "20000"],
        ["--policy-lag", "2"],
    )
]
SIGNALS = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}
AFTER = "after the end"


def content(run: Path) -> tuple[list[dict], str, str]:
    kept = [{key: value for key, value in line.items() if key not in IGNORED} for line in metrics(run)]
    return kept, (run / "episodes.csv").read_text(), result(run)["weights_digest"]


def distpg(*arguments: str) -> subprocess.Popen[bytes]:
    return start_distpg(*arguments, stderr=subprocess.PIPE)


def checked(process: subprocess.Popen[bytes], number: int | None = None) -> bool:
    """Wait for the end; whether the process finished instead of being stopped by the signal."""
    _, errors = process.communicate()
    # A signal in Python's own first tenth of a second ends it before distpg is there to exit with 130, and
    # while Ray connects, SIGTERM makes it abort. Nothing is lost by either.
    stopped = () if number is None else (-number,)
    if number in (signal.SIGINT, signal.SIGTERM):
        stopped = (130, -number, -signal.SIGABRT)
    if process.returncode not in (0, *stopped):
        raise SystemExit(f"exit code {process.returncode} after signal {number}: {errors.decode()}")
    return process.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="that come before the end of their process")
    parser.add_argument("--signals", choices=SIGNALS, nargs="+", default=["kill", "kill", "int", "term"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments, methods and signals")
    parser.add_argument("--num-env-runners", type=int, default=0)
    parser.add_argument("--max-iterations", type=int, default=120)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rounds, kills, equal = 0, Counter(), True
    with tempfile.TemporaryDirectory() as directory:
        while sum(kills.values()) - kills[AFTER] < options.kills:
            method = [
                *(METHODS[rounds % len(METHODS)]),
                *("--seed", str(rounds), "--max-iterations", str(options.max_iterations)),
                *("--stop-return", "none", "--checkpoint-every", str(rng.choice([0, 1, 7, 50]))),
            ]
            whole, parts = Path(directory, f"{rounds}-whole"), Path(directory, f"{rounds}-parts")
            started = time.monotonic()
            checked(distpg("train", "--num-env-runners", "0", "--run-dir", str(whole), *method))
            duration = time.monotonic() - started
            runners = ["--num-env-runners", str(options.num_env_runners)]
            process = distpg("train", "--run-dir", str(parts), *runners, *method)
            while not (parts / "config.json").exists():  # before that there is no run to resume
                time.sleep(0.005)
            finished = False
            while not finished:
                time.sleep(rng.uniform(0, duration))
                number = SIGNALS[rng.choice(options.signals)]
                process.send_signal(number)
                finished = checked(process, number)
                kills[AFTER if finished else number.name] += 1
                process = distpg("resume", str(parts))
            checked(process)
            same = content(parts) == content(whole)
            equal &= same
            rounds += 1
            print(
                f"{'equal' if same else 'DIFFERENT'} after {sum(kills.values())} signals in all: "
                f"{' '.join(method)}",
                flush=True,
            )
    print(f"{rounds} runs, signals: {dict(kills)}: {'all equal' if equal else 'DIFFERENT'}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
