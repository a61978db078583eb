"""A user's own machine: Ray's launcher and client, with a home of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.timings import wait_for

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_OF_THE_CALLER = ("RAY_", "AWS_", "PYTHON")
_DASHBOARD = "http://127.0.0.1:8265"


class Command:
    """A running command, whose output goes to a file: what Ray leaves in the background would hold a pipe."""

    def __init__(self, words: Sequence[str], log: Path, cwd: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                words,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All so far, to either stream, with every carriage return."""
        return self._log.read_bytes().decode(errors="replace")

    def wait(self, seconds: float) -> int:
        """Its exit code.

        Raises:
            AssertionError: It has not ended after so many seconds.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done after {seconds:.0f} s:\n{self.output[-6000:]}") from None

    def stop(self) -> None:
        """End it, with all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Launcher:
    """Runs ``ray`` and ``distpg`` as a user would, from the repository's root."""

    def __init__(self, directory: Path, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.home.mkdir()
        temporary = directory / "tmp"
        temporary.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_CALLER)}
        # Ray's folder of SSH connections is named after the user.
        self._user = f"user-of-{directory.name}-{os.getpid()}-{time.time_ns()}"
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "LOGNAME": self._user,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
            "TMPDIR": str(temporary),
            **(environment or {}),
        }
        self.config = directory / "cluster.yaml"
        self._commands: list[Command] = []

    def render(self, name: str, changes: dict[str, Any]) -> None:
        """Edit a file of cluster/: ``{"a.b": value}``."""
        config = yaml.safe_load((ROOT / "cluster" / name).read_text(encoding="utf-8"))
        for place, value in changes.items():
            *path, last = place.split(".")
            inner = config
            for key in path:
                inner = inner[key]
            assert last in inner, f"{place} is not in {name}"
            inner[last] = value
        self.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def start(self, *command: str, cwd: Path = ROOT, **variables: str) -> Command:
        """Start a command of the virtual environment."""
        log = (
            self.directory
            / f"{len(self._commands) + 1:02}-{'-'.join(command[:3]).replace('/', '_')[:60]}.log"
        )
        environment = {**self.environment, **variables}
        self._commands.append(Command([str(BIN / command[0]), *command[1:]], log, cwd, environment))
        return self._commands[-1]

    def run(self, *command: str, code: int | None = 0, seconds: float = 300, **variables: str) -> str:
        """What a command prints, to either stream.

        Args:
            code: The exit code that is expected; None: any.
        """
        running = self.start(*command, **variables)
        try:
            got = running.wait(seconds)
        finally:
            running.stop()
        assert code in (None, got), f"{' '.join(command)}: exit {got}\n{running.output[-6000:]}"
        return running.output

    def up(self) -> str:
        return self.run("ray", "up", str(self.config), "--yes", "--no-config-cache")

    def down(self) -> str:
        return self.run("ray", "down", str(self.config), "--yes")

    def exec(self, command: str, code: int | None = 0, seconds: float = 300) -> str:
        """``ray exec``: run a command on the head."""
        return self.run("ray", "exec", str(self.config), command, code=code, seconds=seconds)

    def start_exec(self, command: str) -> Command:
        return self.start("ray", "exec", str(self.config), command)

    @contextlib.contextmanager
    def dashboard(self) -> Iterator[None]:
        """``ray dashboard``: a tunnel to the head's, for as long as the context lasts."""
        tunnel = self.start("ray", "dashboard", str(self.config))
        try:
            wait_for("the dashboard's answer", self._dashboard_answers, 60)
            yield
        finally:
            tunnel.stop()

    def _dashboard_answers(self) -> bool:
        try:
            urllib.request.urlopen(_DASHBOARD, timeout=5).close()
        except urllib.error.HTTPError as refused:
            refused.close()
            return True
        except OSError:
            return False
        return True

    def job(self, action: str, *words: str, code: int | None = 0, seconds: float = 300) -> str:
        """``ray job ACTION``, through the tunnel, with the token."""
        return self.run(
            *("ray", "job", action, "--address", _DASHBOARD, *words),
            code=code,
            seconds=seconds,
            RAY_AUTH_MODE="token",
        )

    @property
    def token(self) -> str:
        """The cluster's."""
        return (self.home / ".ray" / "auth_token").read_text().strip()

    def close(self) -> None:
        """End what a failed test left running, and remove what Ray left outside of this directory."""
        for command in self._commands:
            command.stop()
        name = hashlib.sha256(self._user.encode()).hexdigest()[:10]
        shutil.rmtree(f"/tmp/ray_ssh_{name}", ignore_errors=True)
