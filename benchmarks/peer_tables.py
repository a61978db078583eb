"""The results of the comparison with other libraries as tables, for a terminal and for README.md."""

from __future__ import annotations

import textwrap
from typing import Any

from benchmarks.peer_samplers.comparison import NAMES, REFERENCES

PACKAGES = {name: name for name in NAMES} | {"rllib": "ray", "sb3": "stable-baselines3"}
POLICIES = ["untrained", "trained"]
FLOOR = "sgemm / 1,536"
LEGEND = (
    "Steps a second; ratios are to distpg: 'to c' to its compiled sampler, 'to 64' to its Gymnasium "
    f"sampler with 64 episodes a task. '{FLOOR}' is the rate of a product of 512 x 512 matrices of "
    "float32 over the operations that the policy needs for a step: what arithmetic leaves room for."
)


def table(result: dict[str, Any]) -> str:
    """At most 80 columns."""
    lines = textwrap.wrap(LEGEND, 80)
    for cores in dict.fromkeys(row["cores"] for row in result["rows"]):
        machine = result["machine"]
        where = "one core" if cores == "one" else f"all {machine['cores']} cores together"
        lines += ["", f"CartPole-v1, policy 4-128-2, {where}: {machine['cpu']}"]
        for policy in POLICIES:
            rows = [row for row in result["rows"] if (row["cores"], row["policy"]) == (cores, policy)]
            last = "episode" if cores == "one" else "as"
            lines += ["", f"{policy} policy", _line("", "", "steps/s", "min to max", "to c", "to 64", last)]
            lines += [_line_of(row) for row in rows]
            lines += _share_of_floor(rows)
    for name, why in result["failures"].items():
        lines += ["", *textwrap.wrap(f"{NAMES[name]} is left out: {why}", 80)]
    shares = [row["cpu_share_min"] for row in result["rows"] if row["cores"] == "one"]
    if shares and min(shares) < 0.95:
        lines += [
            "",
            f"A round got only {min(shares):.0%} of the core. Rates are over its own part of the time.",
        ]
    return "\n".join(lines)


def _line(peer: str, setting: str, rate: str, span: str, one: str, other: str, last: str) -> str:
    return f"{peer:10}{setting:24}{rate:>7}{span:>15}{one:>7}{other:>6}{last:>11}".rstrip()


def _line_of(row: dict[str, Any]) -> str:
    rate, length = row["env_steps_per_s"], row["episode_len_mean"]
    is_floor = row["peer"] == "sgemm"
    if row["cores"] == "one":
        last = "" if is_floor else f"{length:.0f}" if length else "none"
    elif row["threads"] > 1:
        last = f"{row['threads']} threads"
    else:
        last = f"{row['processes']} procs"
    return _line(
        "" if is_floor else NAMES[row["peer"]],
        f"{FLOOR} ({row['setting']})" if is_floor else row["setting"],
        _short(rate["median"]),
        f"{_short(rate['min'])} to {_short(rate['max'])}",
        *(_ratio(row, name) for name in REFERENCES),
        last,
    )


def _short(rate: float) -> str:
    scaled, unit = (rate / 1e6, "M") if rate >= 999_500 else (rate / 1000, "k")
    return f"{scaled:.0f}{unit}" if scaled >= 99.95 else f"{scaled:.1f}{unit}"


def _ratio(row: dict[str, Any], reference: str) -> str:
    if (found := row["ratio_to_distpg"][reference]) is None:
        return ""
    ratio = found["median"]
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.4f}"


def _share_of_floor(rows: list[dict[str, Any]]) -> list[str]:
    for row in rows:
        if row["peer"] == "sgemm" and (found := row["ratio_to_distpg"]["compiled"]):
            return [f"distpg's compiled sampler reaches {1 / found['median']:.0%} of {FLOOR}."]
    return []


def for_readme(result: dict[str, Any]) -> str:
    """The same as tables for README.md, and where distpg's compiled sampler is the slower one."""
    lines = []
    for cores in dict.fromkeys(row["cores"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["cores"] == cores]
        where = "one core" if cores == "one" else f"all {result['machine']['cores']} cores"
        ratios = " (ratio to distpg compiled; to 64 a task)"
        lines += [f"| steps/s on {where}{ratios} | untrained policy | trained policy |", "|---|---|---|"]
        for name, sampler in dict.fromkeys((row["peer"], row["sampler"]) for row in rows):
            found = {row["policy"]: row for row in rows if (row["peer"], row["sampler"]) == (name, sampler)}
            cells = [_cell(found[policy]) for policy in POLICIES]
            lines.append(f"| {_label(result, name, sampler)} | {' | '.join(cells)} |")
        lines += ["", *_who_is_faster(rows, where)]
    return "\n".join(lines).rstrip()


def _label(result: dict[str, Any], name: str, sampler: str) -> str:
    if name == "sgemm":
        return FLOOR
    return f"{NAMES[name]} {result['versions'][name][PACKAGES[name]]}" + (f", {sampler}" if sampler else "")


def _cell(row: dict[str, Any]) -> str:
    ratios = "; ".join(filter(None, (_ratio(row, name) for name in REFERENCES)))
    setting = row["setting"].removeprefix(row["sampler"]).removeprefix(", ")
    threads = f"{row['threads']} threads" if row["threads"] > 1 else ""
    rate = _short(row["env_steps_per_s"]["median"]) + (f" ({ratios})" if ratios else "")
    return ", ".join(filter(None, (rate, setting, threads)))


def _who_is_faster(rows: list[dict[str, Any]], where: str) -> list[str]:
    peers = [row for row in rows if row["peer"] not in ("distpg", "sgemm")]
    found = [(row, row["ratio_to_distpg"]["compiled"]) for row in peers]
    if not any(ratio for _, ratio in found):
        return []
    faster = [
        f"{NAMES[row['peer']]} ({row['policy']} policy, {ratio['median']:.2f} times)"
        for row, ratio in found
        if ratio["median"] > 1
    ]
    return [f"Faster than distpg compiled on {where}: {', '.join(faster) or 'none'}.", ""]
