"""What a measurement was taken on, in a line."""

import contextlib
import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path

from distpg.system.version import installed_version

_PACKAGES = ("distpg", "ray", "torch", "numpy", "gymnasium")


def usable_cpus() -> int:
    """CPUs that this process may use; a container or taskset may leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware_line() -> str:
    """CPU, memory, system, versions and date of this machine."""
    try:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):
        memory = ""
    facts = [
        cpu_model(),
        f"{usable_cpus()} of {os.cpu_count()} CPUs",
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
