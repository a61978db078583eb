"""Steps a second of other libraries on one core and on all, against distpg's."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.peer_samplers.comparison import NAMES, REFERENCES, Comparison
from benchmarks.peer_tables import POLICIES, for_readme, table
from benchmarks.venvs import ROOT
from distpg.system.hardware import cpu_model


def spread(values: list[float], digits: int) -> dict[str, float] | None:
    """Median, minimum and maximum."""
    if not values:
        return None
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def machine(cores: list[int]) -> dict[str, Any]:
    load = round(os.getloadavg()[0], 2)
    return {"cpu": cpu_model(), "cores": len(cores), "system": platform.system(), "load_at_start": load}


def as_json(comparison: Comparison, started: dict[str, Any]) -> dict[str, Any]:
    """What results.json holds under "peers".

    Rates are steps a second of the core on one core, of the clock on all; ratios to distpg's samplers.
    """
    num_cores = len(comparison.cores)
    rows = [
        {
            "cores": row.cores,
            "peer": row.peer,
            "policy": row.policy,
            "sampler": row.sampler,
            "setting": row.setting,
            "processes": num_cores if row.way == "copies" else 1,
            "threads": num_cores if row.way == "threads" else 1,
            "env_steps_per_s": spread(row.rates, 0),
            "ratio_to_distpg": {name: spread(comparison.ratios(row, name), 5) for name in REFERENCES},
            "episode_len_mean": None if row.episode_len_mean is None else round(row.episode_len_mean, 1),
            "cpu_share_min": round(min(measured["cpu_share"] for measured in row.rounds), 2),
        }
        for row in comparison.rows
    ]
    return started | {
        "versions": comparison.versions,
        "rows": rows,
        "settings_tried": comparison.tried,
        "failures": comparison.failures,
    }


def write(result: dict[str, Any], path: Path) -> None:
    """Put it beside what other benchmarks have left in the file."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(results | {"peers": result}, indent=2, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=list(NAMES), default=list(NAMES), metavar="PEER")
    parser.add_argument("--cores", nargs="+", choices=["one", "all"], default=["one", "all"])
    parser.add_argument("--repetitions", type=int, default=5, help="rounds of all peers with each policy")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args()
    if options.repetitions < 1 or options.seconds <= 0:
        parser.error("--repetitions and --seconds must be positive")
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    comparison = Comparison(options.peers)
    started = {
        "date": started_at,
        "machine": machine(comparison.cores),
        "repetitions": options.repetitions,
        "seconds": options.seconds,
    }
    try:
        for cores in dict.fromkeys(options.cores):
            for policy in POLICIES:
                comparison.play(policy, cores, options.repetitions, options.seconds)
        result = as_json(comparison, started)
    finally:
        comparison.close()
    write(result, options.output)
    print(table(result), for_readme(result), sep="\n\n")
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
