"""The processes of a peer: each measures on request, and sleeps in between."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.venvs import ENVIRONMENTS, ROOT, PeerError

# A peer that says nothing for so long hangs: making, compiling and measuring a sampler takes less.
PATIENCE_S = 180


def available_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Peer:
    """A process in the peer's own environment, on some of the cores."""

    def __init__(self, name: str, python: Path, cores: list[int]) -> None:
        """Start it.

        Raises:
            PeerError: It does not start.
        """
        self.name = name
        ENVIRONMENTS.mkdir(exist_ok=True)
        self._log = ENVIRONMENTS / f"{name}-{'all' if len(cores) > 1 else cores[0]}.log"
        threads = {f"{library}_NUM_THREADS": str(len(cores)) for library in ("OMP", "MKL", "OPENBLAS")}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with self._log.open("w", encoding="utf-8") as log, _only_on(cores):
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.peer_samplers.{name}"],
                cwd=ROOT,
                env=inherited | threads,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        hello = self.answer()
        self.settings: dict[str, list[str]] = hello["settings"]
        self.versions: dict[str, str] = hello["versions"]
        self.has_threads: bool = hello["has_threads"]

    def ask(self, policy: str, setting: str, seconds: float) -> None:
        """Let it measure; :meth:`answer` waits for what came of it."""
        assert self._process.stdin is not None
        request = {"policy": policy, "setting": setting, "seconds": seconds}
        with contextlib.suppress(OSError):  # it has ended: no answer comes, which says why
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """As ``serving.measure``.

        Raises:
            PeerError: The process ended or hangs.
        """
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


def measure(peers: list[Peer], policy: str, setting: str, seconds: float, by_clock: bool) -> dict[str, Any]:
    """What processes of one peer measure at the same time, after they have warmed up together.

    Args:
        by_clock: Rates are over seconds of the clock, and are summed; else over seconds of the core.

    Raises:
        PeerError: One of them ended or hangs.
    """
    answers: list[dict[str, Any]] = []
    for duration in (seconds / 4, seconds):
        for peer in peers:
            peer.ask(policy, setting, duration)
        answers = [peer.answer() for peer in peers]
    rate = "steps_per_wall_s" if by_clock else "steps_per_cpu_s"
    return {
        "env_steps_per_s": sum(answer[rate] for answer in answers),
        "cpu_share": min(answer["cpu_share"] for answer in answers),
        "episodes": sum(answer["episodes"] for answer in answers),
        "episode_steps": sum(answer["episode_steps"] for answer in answers),
    }


@contextlib.contextmanager
def _only_on(cores: list[int]) -> Iterator[None]:
    """What is started meanwhile inherits these cores; libraries look at them when they are imported."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
