"""Peers as processes that measure on request, and the comparison of them round by round."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.venvs import ENVIRONMENTS, ROOT, PeerError, python_of

NAMES = {"distpg": "distpg", "rllib": "RLlib", "sb3": "SB3", "torchrl": "TorchRL"}
REFERENCE = ("distpg", "64 episodes a task")
# A peer that says nothing for so long hangs: making and measuring a sampler takes seconds.
PATIENCE_S = 180


class Peer:
    """A process in the peer's own environment that measures when it is asked, and sleeps in between."""

    def __init__(self, name: str, python: Path) -> None:
        """Start it.

        Raises:
            PeerError: It does not start.
        """
        self.name = name
        ENVIRONMENTS.mkdir(exist_ok=True)
        self._log = ENVIRONMENTS / f"{name}.log"
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.peer_samplers.{name}"],
                cwd=ROOT,
                env=inherited | threads,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        hello = self._answer()
        self.settings: list[str] = hello["settings"]
        self.versions: dict[str, str] = hello["versions"]

    def measure(self, policy: str, setting: str, seconds: float) -> dict[str, Any]:
        """As ``serving.measure``.

        Raises:
            PeerError: The process ended or hangs.
        """
        assert self._process.stdin is not None
        request = {"policy": policy, "setting": setting, "seconds": seconds}
        with contextlib.suppress(OSError):  # it has ended: no answer comes, which says why
            print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            self.close()
            raise PeerError(f"said nothing for {PATIENCE_S} s")
        line = self._process.stdout.readline()
        if not line:
            self.close()
            said = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(said) if line.strip()), "without a word")
            raise PeerError(f"ended by itself: {last.strip()} (.venv-peers/{self._log.name})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Row:
    """A peer in one setting with one policy: what each round measured."""

    peer: str
    policy: str
    setting: str
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Steps a second of the core, of each round."""
        return [measured["env_steps_per_s"] for measured in self.rounds]

    @property
    def episode_len_mean(self) -> float | None:
        """None where no episode has ended."""
        episodes = sum(measured["episodes"] for measured in self.rounds)
        return sum(measured["episode_steps"] for measured in self.rounds) / episodes if episodes else None


class Comparison:
    """The peers that still take part, and why the others do not."""

    def __init__(self, names: list[str]) -> None:
        self.failures: dict[str, str] = {}
        self.peers: dict[str, Peer] = {}
        self.tried: dict[str, dict[str, dict[str, float]]] = {}
        self.rows: list[Row] = []
        pythons: dict[str, Path] = {}
        for name in names:
            try:
                pythons[name] = python_of(name)
            except PeerError as error:
                self._drop(name, error)
        _use_one_core()
        for name, python in pythons.items():
            try:
                self.peers[name] = Peer(name, python)
            except PeerError as error:
                self._drop(name, error)

    def _drop(self, name: str, why: PeerError) -> None:
        self.failures[name] = str(why)
        self.peers.pop(name, None)
        self.rows = [row for row in self.rows if row.peer != name]
        print(f"{NAMES[name]}: {why}", file=sys.stderr)

    def play(self, policy: str, repetitions: int, seconds: float) -> None:
        """Find each peer's best setting, then measure all of them in turn, round by round."""
        for peer in list(self.peers.values()):
            try:
                settings = peer.settings if peer.name == "distpg" else [self._best(peer, policy, seconds / 4)]
                self.rows += [Row(peer.name, policy, setting) for setting in settings]
            except PeerError as error:
                self._drop(peer.name, error)
        for number in range(repetitions):
            print(f"{policy} policy, round {number + 1} of {repetitions} ...", file=sys.stderr)
            for row in [row for row in self.rows if row.policy == policy]:
                if row.peer in self.peers:
                    try:
                        row.rounds.append(self.peers[row.peer].measure(policy, row.setting, seconds))
                    except PeerError as error:
                        self._drop(row.peer, error)

    def _best(self, peer: Peer, policy: str, seconds: float) -> str:
        """The fastest setting. Those within half its speed are tried again: others may use the machine."""
        print(f"{policy} policy: settings of {NAMES[peer.name]} ...", file=sys.stderr)
        rates: dict[str, float] = {}
        for _ in range(2):
            for setting in peer.settings:
                if rates.get(setting, 1) >= max(rates.values(), default=0) / 2 or setting not in rates:
                    rate = peer.measure(policy, setting, seconds)["env_steps_per_s"]
                    rates[setting] = max(rate, rates.get(setting, 0))
        self.tried.setdefault(peer.name, {})[policy] = {key: round(rate) for key, rate in rates.items()}
        return max(rates, key=rates.__getitem__)

    def close(self) -> None:
        """End the processes."""
        for peer in self.peers.values():
            peer.close()

    def ratios(self, row: Row) -> list[float]:
        """Its rate over distpg's, round by round; empty without distpg."""
        for other in self.rows:
            if (other.peer, other.setting) == REFERENCE and other.policy == row.policy:
                return [rate / reference for rate, reference in zip(row.rates, other.rates, strict=True)]
        return []


def _use_one_core() -> None:
    # The peers inherit it; this process only waits for them, and takes nothing from them.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
