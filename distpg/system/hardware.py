"""What this machine has, and what is left of it to this process."""

import contextlib
import math
import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path

from distpg.system.version import installed_version

_PACKAGES = ("distpg", "ray", "torch", "numpy", "gymnasium")


def usable_cpus() -> float:
    """CPUs that this process may use: taskset or a container may leave it fewer than the machine has."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        membership = Path("/proc/self/cgroup").read_text()
    except OSError:
        return affine
    return min(affine, cpu_quota(membership, Path("/sys/fs/cgroup")))


def whole_cpus() -> int:
    """:func:`usable_cpus` as a count: rounded down, and at least 1."""
    return max(1, int(usable_cpus()))


def cpu_quota(membership: str, root: Path) -> float:
    """CPUs by the least quota of a process's control groups, of version 1 or 2; infinite without a quota.

    Args:
        membership: As /proc/PID/cgroup has it (Linux, cgroups(7)). In a container the paths that it names may
            not be there: so the directories above count too, of which the highest is the container's own.
        root: Where the groups are mounted.
    """
    quotas = [math.inf]
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        directory = root / controllers  # of version 2: none, and the root itself
        for part in ["", *path.strip("/").split("/")]:
            directory = directory / part
            with contextlib.suppress(OSError, ValueError):
                quotas.append(_quota_of(directory, is_first_version=bool(controllers)))
    return min(quotas)


def _quota_of(group: Path, is_first_version: bool) -> float:
    """In CPUs (OSError: the highest group has no such file)."""
    if is_first_version:
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    else:
        quota, period = (group / "cpu.max").read_text().split()
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def time_in_queue() -> float:
    """Seconds that this thread has been ready but had no CPU; 0 where the system does not say.

    Others had it, or the quota of its control group was used up.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def hardware_line() -> str:
    """CPU, memory, system, versions and date of this machine."""
    try:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):
        memory = ""
    facts = [
        cpu_model(),
        f"{usable_cpus():g} of {os.cpu_count()} CPUs",
        memory,
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version}" for name in _PACKAGES if (version := installed_version(name))),
        f"{datetime.now(timezone.utc):%Y-%m-%d}",
    ]
    return ", ".join(fact for fact in facts if fact)


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    try:
        found = re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def free_memory() -> int | None:
    """Bytes that can be had without swapping; of the container, where there is one. None: unknown."""
    found = []
    with contextlib.suppress(OSError):
        pages = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        found += [int(pages[1]) * 1024] if pages else []
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        # What files take there is given back when memory runs short.
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        used = int((group / "memory.current").read_text()) - (int(cached[1]) if cached else 0)
        found.append(max(0, limit - used))
    return min(found, default=None)
