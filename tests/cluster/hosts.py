"""Hosts on one machine: each has its own network, processes, host name, disk, users and sshd."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.boot import USER
from tests.cluster.timings import wait_for

# How pip works here, hosts' pip works: what it is told by the environment.
_PIP = (
    *("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
# What pip has downloaded, from host to host and run to run.
_ROOT = Path(__file__).resolve().parents[2]
_PIP_CACHE = _ROOT / ".venv-cluster" / "pip-cache"
_SSH_OPTIONS = (
    *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
    *("IdentitiesOnly=yes", "BatchMode=yes", "ConnectTimeout=5"),
)


@dataclass(frozen=True)
class Host:
    """A running host; ``process`` ends when it does."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    cable: str
    key: Path

    @property
    def first_process(self) -> int:
        """Its process 1, by our number."""
        parent = self.process.pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def path(self, path: str) -> Path:
        """A file of the host, from here."""
        return Path(f"/proc/{self.first_process}/root") / path.lstrip("/")

    def home(self, path: str) -> Path:
        """A file in its user's home, from here."""
        return self.path(f"/home/{USER}/{path}")

    def as_root(self, *command: str) -> str:
        """What a command prints that runs as root on the host."""
        inside = ["nsenter", "--target", str(self.first_process), "--all", "--root", "--wd=/", "--"]
        return subprocess.run([*inside, *command], stdout=subprocess.PIPE, text=True, check=True).stdout

    def login(self, command: str, script: str = "", seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command as its user, over SSH, in such a shell as Ray's launcher uses."""
        options = [word for option in _SSH_OPTIONS for word in ("-o", option)]
        shell = f"bash --login -c -i {shlex.quote(command)}"
        return subprocess.run(
            ["ssh", "-i", str(self.key), *options, f"{USER}@{self.address}", shell],
            input=script,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def processes(self, name: str) -> list[int]:
        """Our numbers of processes whose title starts with the name, or whose command ends with it."""
        network = Path(f"/proc/{self.first_process}/ns/net").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                is_here = (process / "ns/net").readlink() == network
            except OSError:  # it has ended
                continue
            if is_here and (words[0].startswith(name) or any(word.endswith(name) for word in words[:2])):
                found.append(int(process.name))
        return found

    def crash(self, silently: bool = False) -> None:
        """End all at once: connections are closed, or, ``silently``, peers hear nothing at all."""
        if silently:
            subprocess.run(["ip", "link", "set", self.cable, "down"], check=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first_process, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


class Network:
    """A bridge to which hosts are connected, and the way out of it; closing it ends the hosts."""

    def __init__(self, gateway: str, length: int, directory: Path) -> None:
        """Make the bridge.

        Args:
            gateway: This machine's address in the network.
            length: Bits of an address that name the network.
            directory: Where keys, logs and the hosts' empty mount points are.
        """
        self._gateway, self._length, self._directory = gateway, length, directory
        _PIP_CACHE.mkdir(parents=True, exist_ok=True)
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.hosts: dict[str, Host] = {}
        self._number = 0
        _ip("link", "add", "bridge", "type", "bridge")
        _ip("address", "add", f"{gateway}/{length}", "dev", "bridge")
        _ip("link", "set", "bridge", "up")
        way_out = "type nat hook postrouting priority 100; oifname uplink masquerade;"
        subprocess.run(["nft", f"table ip hosts {{ chain out {{ {way_out} }}; }}"], check=True)

    def boot(
        self,
        name: str,
        address: str,
        public: str | None = None,
        keys: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> Host:
        """Start a host, and wait for its sshd.

        Args:
            public: A second address, by which hosts elsewhere know it.
            keys: Public keys let in beside our own.
            environment: Set in each SSH session.
        """
        self._number += 1
        cable, disk = f"cable{self._number}", self._directory / f"disk-{name}"
        disk.mkdir(exist_ok=True)
        log = (self._directory / f"{name}.log").open("wb")
        namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]
        with log:
            process = subprocess.Popen(
                ["unshare", *namespaces, sys.executable, "-m", "tests.cluster.boot"],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        host = Host(name, address, process, cable, self.key)
        self.hosts[name] = host
        self._connect(host, public)
        told = {
            "name": name,
            "address": f"{address}/{self._length}",
            "gateway": self._gateway,
            "public": public,
            "disk": str(disk),
            "pip_cache": str(_PIP_CACHE),
            "keys": [self.key.with_suffix(".pub").read_text().strip(), *keys],
            "environment": {
                **{name: value for name, value in os.environ.items() if name.startswith(_PIP)},
                **(environment or {}),
            },
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.close()
        wait_for(f"sshd of {name}", lambda: self._answers(host), 60)
        return host

    def _connect(self, host: Host, public: str | None) -> None:
        here, there = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{host.process.pid}/ns/net")
        wait_for(f"the network of {host.name}", lambda: there.readlink() != here, 10)
        peer = ["peer", "name", "eth0", "netns", str(host.process.pid)]
        _ip("link", "add", host.cable, "type", "veth", *peer)
        _ip("link", "set", host.cable, "master", "bridge", "up")
        if public is not None:
            _ip("route", "replace", f"{public}/32", "via", host.address)

    def _answers(self, host: Host) -> bool:
        log = self._directory / f"{host.name}.log"
        assert host.process.poll() is None, f"{host.name} ended as it started: {log.read_text()}"
        try:
            with socket.create_connection((host.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def crash(self, host: Host, silently: bool = False) -> None:
        """Lose a host."""
        del self.hosts[host.name]
        host.crash(silently)

    def close(self) -> None:
        """End all hosts, and the bridge."""
        for host in list(self.hosts.values()):
            self.crash(host)
        subprocess.run(["nft", "delete", "table", "ip", "hosts"], check=True)
        _ip("link", "delete", "bridge")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def network(gateway: str, length: int, directory: Path) -> Iterator[Network]:
    """A network for as long as the context lasts."""
    made = Network(gateway, length, directory)
    try:
        yield made
    finally:
        made.close()
