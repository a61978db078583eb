"""A CartPole that fails when it is told to, and who tells it: faults for benchmarks.soak."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from benchmarks.common import env_runner_processes
from distpg.environments.sleep_env import SleepEnv


class ChaosCartPole(CartPoleEnv):
    """CartPole-v1, but for an exception at the first reset that finds the file ``order``.

    Never twice in one episode: twice is what a defect of the environment does, and ends a run. With a
    ``slow_seed`` it takes 1 to 3 s to make, and 0.05 to 0.5 s for a step now and then.
    """

    def __init__(self, order: str, slow_seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._order = order
        self._slow = None if slow_seed is None else random.Random(slow_seed)
        if self._slow is not None:
            time.sleep(self._slow.uniform(1, 3))

    def step(self, action: Any) -> Any:
        if self._slow is not None and self._slow.random() < 0.002:
            time.sleep(self._slow.uniform(0.05, 0.5))
        return super().step(action)

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> Any:
        failed = Path(f"{self._order}.{seed}")
        if not failed.exists():
            with contextlib.suppress(FileNotFoundError):
                Path(self._order).unlink()
                failed.touch()
                raise RuntimeError("told to fail")
        return super().reset(seed=seed, **kwargs)


gymnasium.register("ChaosCartPole-v0", entry_point=ChaosCartPole, max_episode_steps=500)


class Chaos:
    """Commits a seeded fault every ``seconds`` on average."""

    def __init__(self, cluster: Any, order: Path, seconds: float, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self._cluster = cluster
        self._order = order
        self._seconds = seconds
        self._rng = random.Random(seed)
        self._later: list[tuple[float, Callable[[], None]]] = []

    def rage(self, seconds: float, goes_on: Callable[[], bool]) -> None:
        """Commit faults for so long, while training goes on; then release what is frozen for a while."""
        kinds = {
            self._kill: 30,
            self._freeze: 15,
            self._freeze_for_ever: 10,
            self._slow: 15,
            self._fail: 20,
            self._node: 6,
            self._freeze_all: 2,
        }
        end = time.monotonic() + seconds
        due = time.monotonic()
        while time.monotonic() < end and goes_on():
            time.sleep(0.02)
            self._do_what_is_due()
            if time.monotonic() >= due:
                due = time.monotonic() + self._rng.uniform(0.5, 1.5) * self._seconds
                (fault,) = self._rng.choices(list(kinds), list(kinds.values()))
                fault()
        while self._later:
            time.sleep(0.02)
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for item in sorted((item for item in self._later if item[0] <= now), key=lambda item: item[0]):
            self._later.remove(item)
            item[1]()

    def _raylets(self) -> set[int]:
        nodes = [self._cluster.head_node, *self._cluster.worker_nodes]
        return {
            node.all_processes["raylet"][0].process.pid for node in nodes if "raylet" in node.all_processes
        }

    def _signal(self, process: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    def _victims(self, kind: str) -> list[int]:
        """One runner, or none: then there is no such fault."""
        processes = env_runner_processes(self._raylets())
        if not processes:
            return []
        self.faults[kind] += 1
        return [self._rng.choice(processes)]

    def _kill(self) -> None:
        for process in self._victims("runner killed"):
            self._signal(process, signal.SIGKILL)

    def _freeze(self) -> None:
        for process in self._victims("runner frozen for a while"):
            self._signal(process, signal.SIGSTOP)
            self._after(self._rng.uniform(0.2, 8), partial(self._signal, process, signal.SIGCONT))

    def _freeze_for_ever(self) -> None:
        for process in self._victims("runner frozen for ever"):
            self._signal(process, signal.SIGSTOP)

    def _slow(self) -> None:
        for process in self._victims("runner slowed tenfold"):
            for tenth in range(60):
                self._after(tenth * 0.1, partial(self._signal, process, signal.SIGSTOP))
                self._after(tenth * 0.1 + 0.09, partial(self._signal, process, signal.SIGCONT))

    def _fail(self) -> None:
        self.faults["environment raised"] += 1
        self._order.touch()

    def _freeze_all(self) -> None:
        processes = env_runner_processes(self._raylets())
        self.faults["all runners frozen for ever"] += bool(processes)
        for process in processes:
            self._signal(process, signal.SIGSTOP)

    def _node(self) -> None:
        nodes = list(self._cluster.worker_nodes)
        if nodes:
            self.faults["node killed"] += 1
            self._cluster.remove_node(self._rng.choice(nodes), allow_graceful=False)
            self._after(self._rng.uniform(1, 5), self._add_node)

    def _add_node(self) -> None:
        self._cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))


class Straggles(SleepEnv):
    """distpg/Sleep-v0, but the first process that makes the file ``slow_marker`` takes ten times as long."""

    def __init__(self, step_ms: float, slow_marker: str) -> None:
        super().__init__(10 * step_ms if _is_first(slow_marker) else step_ms)


def _is_first(marker: str) -> bool:
    """Whether this process made the file; a process that did knows itself by what is in it."""
    with contextlib.suppress(FileExistsError), Path(marker).open("x", encoding="ascii") as file:
        file.write(str(os.getpid()))
    return Path(marker).read_text(encoding="ascii") == str(os.getpid())


gymnasium.register("Straggles-v0", entry_point=Straggles, max_episode_steps=100_000)
