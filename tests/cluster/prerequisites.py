"""Whether this machine can run the suite: what its hosts are made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# What is called, and the Debian package that has it.
TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "rsync": "rsync",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
    "useradd": "passwd",
}
# Four hosts with PyTorch and Ray on each.
MEMORY_GB = 12
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:" + os.environ.get("PATH", "")
# The interpreter that hosts find, whatever runs this.
_PYTHON = "/usr/bin/python3"


def why_not() -> str | None:
    """Why the suite cannot run here, in a line; None: it can."""
    if not sys.platform.startswith("linux"):
        return "its hosts are made of Linux namespaces, and this is not Linux"
    if os.geteuid() != 0:
        return "only root can make its hosts"
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool, path=_PATH) is None]
    if not _works(
        [_PYTHON, "-c", "import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))"]
    ):
        missing.append("python3-venv (of Python 3.10 to 3.13)")
    if missing:
        return f"missing here, as Debian's packages: {', '.join(sorted(set(missing)))}"
    if not _works(["unshare", "--net", "--pid", "--fork", "--mount", "--uts", "--ipc", "true"]):
        return "this kernel or container gives no namespaces"
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return "this kernel has no overlay file system (modprobe overlay)"
    if (free := _free_gigabytes()) < MEMORY_GB:
        return f"its hosts' disks are in memory, and of the {MEMORY_GB} GB they need {free:.0f} are free"
    return None


def main() -> int:
    """Exit code 1, and a line that says why, where the suite cannot run."""
    why = why_not()
    if why is not None:
        print(f"tests on a cluster are skipped: {why}")
    return int(why is not None)


def _free_gigabytes() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    (available,) = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(available) / 2**20


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
