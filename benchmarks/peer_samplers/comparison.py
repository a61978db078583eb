"""The comparison of peers, round by round, each at its best setting."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peer_samplers.process import Peer, available_cores, measure
from benchmarks.venvs import PeerError, python_of

NAMES = {
    "distpg": "distpg",
    "gymnax": "gymnax",
    "pufferlib": "PufferLib",
    "gymnasium": "Gymnasium",
    "envpool": "EnvPool",
    "sb3": "SB3",
    "torchrl": "TorchRL",
    "rllib": "RLlib",
    "sgemm": "sgemm",
}
# The samplers of distpg that ratios are taken to.
REFERENCES = ["compiled", "64 episodes a task"]


@dataclass
class Row:
    """A sampler of a peer in one setting with one policy: what each round measured.

    Attributes:
        cores: ``one`` or ``all``.
        sampler: Empty where a peer has but one.
        way: ``one`` process on one core, ``copies``, one on each, or one with its own ``threads`` on all.
    """

    peer: str
    policy: str
    cores: str
    sampler: str
    way: str
    setting: str
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Steps a second, of each round: of the core on one core, of the clock on all."""
        return [measured["env_steps_per_s"] for measured in self.rounds]

    @property
    def episode_len_mean(self) -> float | None:
        """None where no episode has ended."""
        episodes = sum(measured["episodes"] for measured in self.rounds)
        return sum(measured["episode_steps"] for measured in self.rounds) / episodes if episodes else None


class Comparison:
    """The peers that still take part, and why the others do not."""

    def __init__(self, names: list[str]) -> None:
        self.cores = available_cores()
        self.failures: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.tried: dict[str, dict[str, dict[str, float]]] = {}
        self.rows: list[Row] = []
        self._pythons: dict[str, Path] = {}
        self._processes: dict[str, dict[str, list[Peer]]] = {}
        self._best_on_one: dict[tuple[str, str, str], str] = {}
        for name in sorted(names, key=list(NAMES).index):
            try:
                self._pythons[name] = python_of(name)
            except PeerError as error:
                self._drop(name, error)
        for name in list(self._pythons):
            try:
                self.versions[name] = self.processes(name, "one")[0].versions
            except PeerError as error:
                self._drop(name, error)

    @property
    def peers(self) -> list[str]:
        """Those that still take part."""
        return list(self._processes)

    def processes(self, name: str, way: str) -> list[Peer]:
        """Of a peer, started when first asked for (PeerError: they do not start)."""
        started = self._processes.setdefault(name, {})
        if way not in started:
            python, last = self._pythons[name], self.cores[-1]
            if way == "copies":
                others = started[way] = list(self.processes(name, "one"))
                others += [Peer(name, python, [core]) for core in self.cores[:-1]]
            else:
                started[way] = [Peer(name, python, [last] if way == "one" else self.cores)]
        return started[way]

    def _drop(self, name: str, why: PeerError) -> None:
        self.failures[name] = str(why)
        self.rows = [row for row in self.rows if row.peer != name]
        for processes in self._processes.pop(name, {}).values():
            for process in processes:
                process.close()
        print(f"{NAMES[name]}: {why}", file=sys.stderr)

    def play(self, policy: str, cores: str, repetitions: int, seconds: float) -> None:
        """Find each peer's best setting, then measure all of them in turn, round by round.

        Args:
            cores: ``one`` or ``all``.
        """
        for name in self.peers:
            try:
                for sampler in self.processes(name, "one")[0].settings:
                    found = self._best(name, policy, cores, sampler, seconds / 4)
                    self.rows.append(Row(name, policy, cores, sampler, *found))
            except PeerError as error:
                self._drop(name, error)
        for number in range(repetitions):
            print(f"{policy} policy, {cores}: round {number + 1} of {repetitions} ...", file=sys.stderr)
            for row in [row for row in self.rows if (row.policy, row.cores) == (policy, cores)]:
                if row.peer not in self.failures:
                    try:
                        row.rounds.append(self._measure(row.peer, policy, row.way, row.setting, seconds))
                    except PeerError as error:
                        self._drop(row.peer, error)

    def _measure(self, name: str, policy: str, way: str, setting: str, seconds: float) -> dict[str, Any]:
        return measure(self.processes(name, way), policy, setting, seconds, by_clock=way != "one")

    def _best(self, name: str, policy: str, cores: str, sampler: str, seconds: float) -> tuple[str, str]:
        """The fastest way and setting. On all cores, copies take the setting that is best on one."""
        peer = self.processes(name, "one")[0]
        settings, key = peer.settings[sampler], (name, policy, sampler)
        if key not in self._best_on_one:
            candidates = [("one", setting) for setting in settings]
            self._best_on_one[key] = self._fastest(name, policy, candidates, seconds)[1]
        best = self._best_on_one[key]
        if cores == "one":
            return "one", best
        threads = [("threads", setting) for setting in settings if peer.has_threads]
        return self._fastest(name, policy, [("copies", best), *threads], seconds)

    def _fastest(
        self, name: str, policy: str, candidates: list[tuple[str, str]], seconds: float
    ) -> tuple[str, str]:
        """Those within half the speed of the fastest are tried again: others may use the machine."""
        if len(candidates) == 1:
            return candidates[0]
        print(f"{policy} policy: settings of {NAMES[name]} ...", file=sys.stderr)
        rates: dict[tuple[str, str], float] = {}
        for _ in range(2):
            for way, setting in candidates:
                key = (way, setting)
                if key not in rates or rates[key] >= max(rates.values()) / 2:
                    rate = self._measure(name, policy, way, setting, seconds)["env_steps_per_s"]
                    rates[key] = max(rate, rates.get(key, 0))
        tried = self.tried.setdefault(name, {}).setdefault(policy, {})
        tried |= {f"{setting} ({way})": round(rate) for (way, setting), rate in rates.items()}
        return max(rates, key=rates.__getitem__)

    def close(self) -> None:
        """End the processes."""
        for ways in self._processes.values():
            for processes in ways.values():
                for process in processes:
                    process.close()

    def ratios(self, row: Row, reference: str) -> list[float]:
        """Its rate over that of a sampler of distpg, round by round; empty without distpg."""
        for other in self.rows:
            if (other.peer, other.sampler) == ("distpg", reference) and (
                (other.policy, other.cores) == (row.policy, row.cores)
            ):
                return [rate / compared for rate, compared in zip(row.rates, other.rates, strict=True)]
        return []
