"""Steps a second of RLlib, Stable-Baselines3 and TorchRL on one core, against distpg's."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.peer_samplers.comparison import NAMES, Comparison
from benchmarks.venvs import ROOT
from distpg.system.hardware import cpu_model

PACKAGES = {"distpg": "distpg", "rllib": "ray", "sb3": "stable-baselines3", "torchrl": "torchrl"}
POLICIES = ["untrained", "trained"]


def spread(values: list[float], digits: int) -> dict[str, float] | None:
    """Median, minimum and maximum."""
    if not values:
        return None
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def machine() -> dict[str, Any]:
    load = round(os.getloadavg()[0], 2)
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system(), "load_at_start": load}


def as_json(comparison: Comparison, started: dict[str, Any]) -> dict[str, Any]:
    """What results.json holds under "peers": steps a second of the core, and their ratios to distpg's."""
    rows = [
        {
            "peer": row.peer,
            "policy": row.policy,
            "setting": row.setting,
            "env_steps_per_s": spread(row.rates, 0),
            "ratio_to_distpg": spread(comparison.ratios(row), 3),
            "episode_len_mean": None if row.episode_len_mean is None else round(row.episode_len_mean, 1),
            "cpu_share_min": round(min(measured["cpu_share"] for measured in row.rounds), 2),
        }
        for row in comparison.rows
    ]
    versions = {name: peer.versions for name, peer in comparison.peers.items()}
    return started | {
        "versions": versions,
        "rows": rows,
        "settings_tried": comparison.tried,
        "failures": comparison.failures,
    }


def table(result: dict[str, Any]) -> str:
    """At most 80 columns."""
    lines = [f"CartPole-v1, policy 4-128-2, one core of {result['machine']['cpu']}"]
    for policy in POLICIES:
        lines += ["", f"{policy} policy", _line("", "", "steps/s", "min to max", "ratio", "episode")]
        for row in result["rows"]:
            if row["policy"] == policy:
                rate, ratio, length = row["env_steps_per_s"], row["ratio_to_distpg"], row["episode_len_mean"]
                cells = (
                    NAMES[row["peer"]],
                    row["setting"],
                    f"{rate['median'] / 1000:,.1f}k",
                    f"{rate['min'] / 1000:,.1f}k to {rate['max'] / 1000:,.1f}k",
                    f"{ratio['median']:.2f}" if ratio else "",
                    f"{length:.0f}" if length else "none",
                )
                lines.append(_line(*cells))
    for name, why in result["failures"].items():
        lines += ["", *textwrap.wrap(f"{NAMES[name]} is left out: {why}", 80)]
    shares = [row["cpu_share_min"] for row in result["rows"]]
    if shares and min(shares) < 0.95:
        lines += [
            "",
            f"A round got only {min(shares):.0%} of the core. Rates are over its own part of the time.",
        ]
    return "\n".join(lines)


def _line(peer: str, setting: str, rate: str = "", span: str = "", ratio: str = "", length: str = "") -> str:
    return f"{peer:8}{setting:28}{rate:>10}{span:>20}{ratio:>6}{length:>8}".rstrip()


def for_readme(result: dict[str, Any]) -> str:
    """The same as a table for README.md, and where distpg is the slower one."""
    lines = ["| steps/s on one core (ratio to distpg) | untrained policy | trained policy |", "|---|---|---|"]
    for name in NAMES:
        settings = [row["setting"] for row in result["rows"] if row["peer"] == name]
        keys = list(dict.fromkeys(settings)) if name == "distpg" else [None]
        for key in keys if settings else []:
            found = {
                row["policy"]: row
                for row in result["rows"]
                if row["peer"] == name and key in (None, row["setting"])
            }
            version = f"{NAMES[name]} {result['versions'][name][PACKAGES[name]]}" + (
                f", {key}" if key else ""
            )
            lines.append(f"| {version} | {' | '.join(_cell(found[p], key) for p in POLICIES)} |")
    faster = [
        f"{NAMES[row['peer']]} ({row['policy']} policy, {row['ratio_to_distpg']['median']:.2f} times)"
        for row in result["rows"]
        if row["peer"] != "distpg" and row["ratio_to_distpg"] and row["ratio_to_distpg"]["median"] > 1
    ]
    if any(row["ratio_to_distpg"] for row in result["rows"] if row["peer"] != "distpg"):
        lines += ["", f"Faster than distpg: {', '.join(faster) or 'none'}."]
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str | None) -> str:
    ratio = f" ({row['ratio_to_distpg']['median']:.2f})" if row["ratio_to_distpg"] else ""
    setting = "" if key else f", {row['setting']}"
    return f"{row['env_steps_per_s']['median'] / 1000:,.1f}k{ratio}{setting}"


def write(result: dict[str, Any], path: Path) -> None:
    """Put it beside what other benchmarks have left in the file."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(results | {"peers": result}, indent=2, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=list(NAMES), default=list(NAMES), metavar="PEER")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds of all peers with each policy")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args()
    if options.repetitions < 1 or options.seconds <= 0:
        parser.error("--repetitions and --seconds must be positive")
    started = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "repetitions": options.repetitions,
        "seconds": options.seconds,
    }
    comparison = Comparison(options.peers)
    try:
        for policy in POLICIES:
            comparison.play(policy, options.repetitions, options.seconds)
        result = as_json(comparison, started)
    finally:
        comparison.close()
    write(result, options.output)
    print(table(result), for_readme(result), sep="\n\n")
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
