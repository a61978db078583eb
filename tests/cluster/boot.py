"""The first process of a host: makes its file system and becomes its sshd.

Started in namespaces of its own by :mod:`tests.cluster.hosts`, which sends what it needs to know as JSON once
the network is connected. The root is an overlay of this machine's: the same distribution, Python and pip's
configuration, and an empty disk for all else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

USER = "ubuntu"
# What a newly installed machine has at the top. All other directories are hidden, and so are homes.
_SYSTEM = {
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "proc",
    "run",
    "sbin",
    "srv",
} | {
    "sys",
    "tmp",
    "usr",
    "var",
}
_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


def _mount(kind: str, where: Path, options: str = "", what: str = "none") -> None:
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", kind, *(["-o", options] if options else []), what, where)


def _bind(what: Path, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "--rbind", what, where)


def _network(address: str, gateway: str, public: str | None) -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", address, "dev", "eth0")
    if public is not None:
        _run("ip", "address", "add", f"{public}/32", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _run("ip", "route", "add", "default", "via", gateway, "src", address.partition("/")[0])


def _root(disk: Path) -> Path:
    """An overlay of this machine's root, whose changes are in memory."""
    _mount("tmpfs", disk, "mode=755,size=16G")
    upper, work, root = disk / "upper", disk / "work", disk / "root"
    for directory in (upper, work, root):
        directory.mkdir()
    _mount("overlay", root, f"lowerdir=/,upperdir={upper},workdir={work}", "overlay")
    _mount("proc", root / "proc")
    _bind(Path("/sys"), root / "sys")
    _bind(Path("/dev"), root / "dev")
    _mount("devpts", root / "dev/pts", "newinstance,gid=5,mode=620,ptmxmode=666")
    for name in ("dev/shm", "tmp"):
        _mount("tmpfs", root / name, "mode=1777")
    _mount("tmpfs", root / "run", "mode=755")
    for path in root.iterdir():
        if path.name not in _SYSTEM and path.is_dir() and not path.is_symlink():
            _mount("tmpfs", path, "mode=755")
    return root


def _in(root: Path, *command: str) -> None:
    _run("chroot", root, *command)


def _user(root: Path, keys: list[str]) -> None:
    subprocess.run(["chroot", str(root), "userdel", USER], stderr=subprocess.DEVNULL, check=False)
    _in(root, "useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", USER)
    ssh = root / "home" / USER / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "authorized_keys").write_text("\n".join(keys) + "\n")
    _in(root, "chown", "--recursive", f"{USER}:", f"/home/{USER}")


def _sshd(root: Path, environment: dict[str, str]) -> None:
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    _in(root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key")
    (root / "run/sshd").mkdir()
    # All in one line: sshd takes the first and no other.
    variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
    (root / "etc/ssh/sshd_config").write_text(f"{_SSHD_CONFIG}SetEnv {variables}\n")


def main() -> None:
    host = json.loads(sys.stdin.readline())
    _network(host["address"], host["gateway"], host["public"])
    root = _root(Path(host["disk"]))
    _run("hostname", host["name"])
    (root / "etc/hostname").write_text(host["name"] + "\n")
    # The machine's own names of itself would lead to the wrong machine.
    own = host["address"].partition("/")[0]
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{own} {host['name']}\n")
    _user(root, host["keys"])
    cache = root / "var/cache/pip"
    _bind(Path(host["pip_cache"]), cache)
    _in(root, "chown", "--recursive", f"{USER}:", "/var/cache/pip")
    _sshd(root, {**host["environment"], "PIP_CACHE_DIR": "/var/cache/pip"})
    os.chroot(root)
    os.chdir("/")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.execve(shutil.which("sshd", path=path) or "sshd", ["/usr/sbin/sshd", "-D", "-e"], {"PATH": path})


if __name__ == "__main__":
    main()
