"""Runs pytest in a network, a process tree and a mount table of its own.

All that the suite makes (hosts, bridges, addresses, Ray's processes) ends with that namespace, however pytest
ends; a second suite beside it may use the same addresses. Outside are a pair of virtual cables, an nftables
table that lets the lab out and nobody in, and the kernel's forwarding: taken back at the end, or by the next
run if this one is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "DISTPG_CLUSTER_LAB"
_STATE = Path("/run/distpg-cluster-tests")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time changes what lies outside of labs."""
    _STATE.mkdir(mode=0o700, exist_ok=True)
    with (_STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep() -> None:
    """Remove what labs that have ended left outside; with the last of them forwarding is as it was."""
    in_use = False
    for file in _STATE.glob("dpg*"):
        with file.open() as lab:
            try:
                fcntl.flock(lab, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                in_use = True
                continue
            subprocess.run(
                ["nft", "delete", "table", "ip", file.name], stderr=subprocess.DEVNULL, check=False
            )
            subprocess.run(["ip", "link", "delete", file.name], stderr=subprocess.DEVNULL, check=False)
            file.unlink()
    before = _STATE / "ip_forward"
    if not in_use and before.exists():
        _FORWARDING.write_text(before.read_text())
        before.unlink()


def _free_subnet() -> str:
    """The start of four addresses, of a range meant for tests, that no interface here has."""
    used = {
        address["local"].rpartition(".")[0]
        for interface in json.loads(_run("ip", "-json", "-4", "address"))
        for address in interface["addr_info"]
    }
    return next(f"198.18.{third}" for third in range(256) if f"198.18.{third}" not in used)


def _connect(name: str, process: int) -> None:
    """A way out for the process's network, and no way in."""
    subnet = _free_subnet()
    _run("ip", "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", str(process))
    _run("ip", "address", "add", f"{subnet}.1/30", "dev", name)
    _run("ip", "link", "set", name, "up")
    inside = ["nsenter", "--net", "--target", str(process), "ip"]
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"{subnet}.2/30", "dev", "uplink")
    _run(*inside, "link", "set", "uplink", "up")
    _run(*inside, "route", "add", "default", "via", f"{subnet}.1")
    out = f"type nat hook postrouting priority 100; ip saddr {subnet}.2 oifname != {name} masquerade;"
    into = f"type filter hook forward priority 0; oifname {name} ct state new drop;"
    _run("nft", f"table ip {name} {{ chain out {{ {out} }}; chain in {{ {into} }}; }}")
    before = _STATE / "ip_forward"
    if not before.exists():
        before.write_text(_FORWARDING.read_text())
    _FORWARDING.write_text("1")


def _outside(arguments: list[str]) -> int:
    """Start the lab, connect it, wait for it and clear up."""
    with _alone():
        _sweep()
        name = next(f"dpg{number}" for number in range(10_000) if not (_STATE / f"dpg{number}").exists())
        held = (_STATE / name).open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    # Ctrl-C reaches pytest itself, and what waits for it has to outlive it. Killed, it takes the lab with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    go, connected = os.pipe()
    lab = subprocess.Popen(
        [
            *(
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                "unshare",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--mount-proc",
                "--uts",
            ),
            *(sys.executable, "-m", "tests.cluster.lab", "--inside", str(go), *arguments),
        ],
        pass_fds=[go],
    )
    signal.signal(signal.SIGTERM, lambda *_: _interrupt(lab.pid))
    try:
        _wait_for_network(lab.pid)
        with _alone():
            _connect(name, lab.pid)
        os.write(connected, b"go")
        return lab.wait()
    finally:
        lab.kill()
        lab.wait()
        with _alone():
            held.close()
            _sweep()


def _interrupt(parent: int) -> None:
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        os.kill(int(child), signal.SIGINT)


def _wait_for_network(process: int) -> None:
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{process}/ns/net").readlink() == here:
        time.sleep(0.01)


def _inside(go: int, arguments: list[str]) -> int:
    """Pytest, once the network is there."""
    os.read(go, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _FORWARDING.write_text("1")
    # Ray's launcher notes there, by a cluster's name, whether its head is up.
    notes = Path("/tmp/ray")
    if not notes.exists():
        notes.mkdir()
        notes.chmod(0o777)  # as Ray makes it
    _run("mount", "-t", "tmpfs", "-o", "mode=1777", "ray", str(notes))
    os.environ[VARIABLE] = "1"
    import pytest

    return int(pytest.main(arguments))


def main(arguments: list[str]) -> int:
    """Pytest, in a lab, on the suite or on what is named of it."""
    if arguments[:1] == ["--inside"]:
        return _inside(int(arguments[1]), arguments[2:])
    if not any(argument.startswith("tests/") for argument in arguments):
        arguments = ["tests/cluster", *arguments]
    return _outside(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
