"""Memory of the driver and its runners after many iterations, against after a tenth of them."""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.common import env_runner_processes, memory_mib, start_distpg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory, "run")
        limits = ["--stop-return", "none", "--max-env-steps", "none", "--max-episode-steps", "60"]
        limits += ["--max-iterations", str(options.iterations + 200)]
        process = start_distpg("train", "--num-env-runners", "2", "--run-dir", str(run), *limits)
        seen = {}
        for mark in (options.iterations // 10, options.iterations):
            while not (run / "metrics.jsonl").exists() or iterations(run) < mark:
                time.sleep(0.2)
            sizes = {"driver": memory_mib("VmRSS", process.pid)}
            for number, runner in enumerate(env_runner_processes({process.pid})):
                sizes[f"runner {number}"] = memory_mib("VmRSS", runner)
            seen[mark] = sizes
        process.wait()
    first, last = seen.values()
    for name, size in first.items():
        print(
            f"{name}: {size:.1f} MiB after {options.iterations // 10} iterations, "
            f"{last[name]:.1f} MiB after {options.iterations}: {100 * (last[name] / size - 1):+.1f} %"
        )


def iterations(run: Path) -> int:
    with (run / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().splitlines()
    whole = [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    return json.loads(whole[-1])["training_iteration"] if whole else 0


if __name__ == "__main__":
    main()
