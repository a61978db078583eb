"""Memory of the driver and its runners after many iterations, against after a tenth of them."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def resident_mib(process: int) -> float:
    (line,) = [
        line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


def descendants(process: int) -> list[int]:
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found = [process]
    for candidate in found:
        found += [child for child, parent in parents.items() if parent == candidate]
    return found[1:]


def runners(process: int) -> list[int]:
    names = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in descendants(process)}
    return [child for child, name in names.items() if name.startswith(b"ray::EnvRunner")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory, "run")
        command = [sys.executable, "-m", "distpg", "train", "--num-env-runners", "2", "--quiet"]
        limits = ["--stop-return", "none", "--max-env-steps", "none", "--max-episode-steps", "60"]
        process = subprocess.Popen(
            [*command, *limits, "--max-iterations", str(options.iterations + 200), "--run-dir", str(run)],
            env={**os.environ},
        )
        seen = {}
        for mark in (options.iterations // 10, options.iterations):
            while not (run / "metrics.jsonl").exists() or iterations(run) < mark:
                time.sleep(0.2)
            sizes = {"driver": resident_mib(process.pid)}
            for number, runner in enumerate(sorted(runners(process.pid))):
                sizes[f"runner {number}"] = resident_mib(runner)
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
