"""A running cluster as tests see it: what its head knows, its runs, and what Ray runs on its hosts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.hosts import Host, Network
from tests.cluster.launcher import BIN, Launcher
from tests.cluster.timings import wait_for

# CartPole with short episodes that take a while, so that a cluster is busy for as long as a test needs it
# and the machine beneath is not. A pause changes no bit: the run to compare with goes without.
PACED = ("--env-id", "paced:Paced-v0", "--seed", "5")
PACED_ENVIRONMENT = """
import time

from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.envs.registration import register


class Paced(CartPoleEnv):
    def step(self, action):
        time.sleep({pause_s})
        return super().step(action)


register("Paced-v0", Paced, max_episode_steps=40)
"""
OPTIONS = ("--episodes-per-iteration", "256", "--stop-return", "none")

_ALIVE = """
import json, sys, time
import ray
wanted, deadline = json.loads(sys.argv[1]), time.monotonic() + float(sys.argv[2])
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
while True:
    alive = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    if len(alive) in wanted or time.monotonic() > deadline:
        break
    time.sleep(0.3)
print(json.dumps(alive))
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster that ``ray up`` made."""

    launcher: Launcher
    network: Network
    head: Host

    @property
    def workers(self) -> list[Host]:
        """All hosts but the head that are there at present."""
        return [host for host in list(self.network.hosts.values()) if host is not self.head]

    def wait_for_nodes(self, *numbers: int, seconds: float = 400) -> list[str]:
        """Addresses of the nodes, once there are so many."""
        command = shlex.join(["python", "-", json.dumps(numbers), str(seconds)])
        done = self.head.login(command, _ALIVE, seconds + 60)
        assert done.returncode == 0, done.stderr
        alive: list[str] = json.loads(done.stdout.splitlines()[-1])
        assert len(alive) in numbers, f"nodes after {seconds:.0f} s: {alive}"
        return alive

    def hosts_with_runners(self) -> set[str]:
        """Names of the hosts on which distpg's actors run."""
        return {
            name for name, host in list(self.network.hosts.items()) if host.processes("ray::RayEnvRunner")
        }

    def wait_for_runners_everywhere(self) -> None:
        """Wait until each host has one."""
        wait_for("runners on every host", lambda: self.hosts_with_runners() == set(self.network.hosts), 120)

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """The iterations of a run, so far; a torn last line is left out."""
        return read_metrics(self.head.home(run))

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        file = self.head.home(run) / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_for_iterations(self, run: str, number: int, seconds: float = 240) -> list[dict[str, Any]]:
        """The metrics, once so many iterations more than now are done."""
        goal = len(self.metrics(run)) + number
        return wait_for(
            f"iteration {goal} of {run}", lambda: (found := self.metrics(run))[goal - 1 :] and found, seconds
        )

    def keep_logs(self) -> None:
        """Copy Ray's logs of all hosts to the launcher's directory, for whoever asks why a test failed."""
        for name, host in self.network.hosts.items():
            for session in host.path("/tmp/ray").glob("session_2*/logs"):
                kept = self.launcher.directory / f"ray-logs-{name}"
                shutil.copytree(session, kept, dirs_exist_ok=True, ignore_dangling_symlinks=True)

    def put_paced_environment(self, directory: str, pause_s: float) -> None:
        """A user's own environment module, brought to the head as a user would."""
        source = self.launcher.directory / directory
        source.mkdir(exist_ok=True)
        (source / "paced.py").write_text(PACED_ENVIRONMENT.format(pause_s=pause_s))
        self.launcher.run("ray", "rsync-up", str(self.launcher.config), f"{source}/", f"{directory}/")

    @contextlib.contextmanager
    def training(self, command: str) -> Iterator[Callable[[], None]]:
        """``ray exec`` of a training that goes on until the function that this gives interrupts it."""
        running = self.launcher.start_exec(command)

        def interrupt() -> None:
            for pid in self.head.processes("/bin/distpg"):
                os.kill(pid, signal.SIGINT)
            running.wait(60)
            assert "nterrupted" in running.output, running.output

        try:
            yield interrupt
        except BaseException:
            print(running.output[-6000:])
            raise
        finally:
            running.stop()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Complete lines of a run's metrics.jsonl."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def longest_gap(metrics: list[dict[str, Any]]) -> float:
    """Seconds between the two iterations that are farthest apart."""
    return max(
        after["time_total_s"] - before["time_total_s"] for before, after in itertools.pairwise(metrics)
    )


class SingleProcess:
    """The digests that a single process computes, without Ray and on this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "paced.py").write_text(PACED_ENVIRONMENT.format(pause_s=0))
        self._digests: dict[tuple[str, ...], list[str]] = {}

    def digests(self, iterations: int, *options: str) -> list[str]:
        """After each of so many iterations."""
        known = self._digests.get(options, [])
        if len(known) < iterations:
            name = f"run-{len(list(self._directory.iterdir()))}"
            command = ["distpg", "train", "--num-env-runners", "0", "--max-iterations", str(iterations)]
            subprocess.run(
                [str(BIN / command[0]), *command[1:], *OPTIONS, *options, "--run-dir", name],
                cwd=self._directory,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            known = [line["weights_digest"] for line in read_metrics(self._directory / name)]
            self._digests[options] = known
        return known[:iterations]
