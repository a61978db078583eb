"""What can be known to go wrong before anything starts: pure functions of what was found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distpg.config import TrainConfig, automatic_episodes_per_task
from distpg.errors import ConfigError, RunDirectoryError
from distpg.ray_token import check_admitted

# A runner of a built-in policy: Python, Ray, NumPy and Gymnasium take 110 MB, the environment the rest.
RUNNER_BYTES = 150 * 10**6
# Two checkpoints, and the log of a few thousand iterations.
MIN_DISK_BYTES = 64 * 2**20
_CONNECT_S = 2.0
_SETTINGS = 4
_HOW_TO_START = "Start one with `ray start --head`, or leave --address out for a new one on this machine."


@dataclass(frozen=True)
class Advice:
    """Something that works, but could do better."""

    message: str
    hint: str


def host_and_port(address: str) -> tuple[str, int] | None:
    """An address in parts; None for ``auto``.

    Raises:
        ConfigError: It is no address of a Ray cluster.
    """
    if address == "auto":
        return None
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address cannot be {address!r}: Ray Client is far slower and is not supported",
            "Run distpg on the cluster's head node with --address auto.",
        )
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address, re.ASCII)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise ConfigError(f"--address cannot be {address!r}", "It takes host:port, or auto.")
    return found[1].strip("[]"), int(found[2])


def check_reachable(address: str, environment_address: str | None) -> None:
    """Whether somebody listens at the address of a cluster, which Ray itself takes a minute to find out.

    Args:
        address: As in ``--address``.
        environment_address: What ``auto`` stands for, as far as it is known.

    Raises:
        ConfigError: Nobody does, or it is no address.
    """
    where, hint = host_and_port(address), _HOW_TO_START
    if where is None:
        if environment_address is None:
            check_runs_here(Path("/proc"))
            return
        address = environment_address
        hint = "`auto` is RAY_ADDRESS or the last `ray start`: correct the one, or repeat the other."
        where = host_and_port(address)
    if where is None:
        return
    try:
        _greet(where)
    except (OSError, UnicodeError) as error:  # the second for a name that is too long
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"no Ray cluster answers at {address}: {reason}", hint) from error


def check_answers(address: str) -> None:
    """Whether there is a cluster at the address, and takes this process in.

    Raises:
        ConfigError: There is none, it demands a token that this process lacks, or it is no address.
    """
    stands_for = address_of_auto(os.environ, _ray_directory())
    check_reachable(address, stands_for)
    where = stands_for if address == "auto" else address
    if where is not None:
        check_admitted(where, is_found_by_ray=address == "auto" and not os.environ.get("RAY_ADDRESS"))


def _greet(where: tuple[str, int]) -> None:
    """Connect, and be answered as gRPC's servers answer: by a SETTINGS frame of HTTP/2 (RFC 9113, 3.4)."""
    with socket.create_connection(where, timeout=_CONNECT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return  # it speaks first, and encrypted
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0]))
        answer = connection.recv(9, socket.MSG_WAITALL)
        if len(answer) < 9 or answer[3] != _SETTINGS:
            raise OSError("what listens there is not Ray")


def check_runs_here(processes: Path) -> None:
    """Whether this machine has any cluster that ``auto`` could mean; Ray looks for one in the same way.

    Args:
        processes: A directory as Linux's /proc.

    Raises:
        ConfigError: It has none.
    """
    commands = list(processes.glob("[0-9]*/cmdline"))
    for command in commands:
        with contextlib.suppress(OSError):  # it has ended
            if b"gcs_server" in command.read_bytes().split(b"\0")[0]:
                return
    if commands:
        raise ConfigError("no Ray cluster runs on this machine", _HOW_TO_START)


def address_of_auto(environment: Mapping[str, str], ray_directory: Path) -> str | None:
    """Where Ray's ``auto`` leads: RAY_ADDRESS, or what the last ``ray start`` wrote down; None: unknown."""
    address = environment.get("RAY_ADDRESS", "")
    if not address:
        try:
            address = (ray_directory / "ray_current_cluster").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
    return address or None


def check_runners_fit(num_cpus: float, cpus_per_runner: float, min_runners: int, can_grow: bool) -> None:
    """Whether a cluster has the CPUs that the fewest runners ask for; Ray would wait for them for ever.

    Raises:
        ConfigError: It has not, and cannot grow.
    """
    # Ray counts in ten-thousandths of a CPU.
    fit = int(round(num_cpus * 10_000) // max(1, round(cpus_per_runner * 10_000)))
    if fit < min_runners and not can_grow:
        raise ConfigError(
            f"{min_runners} runners of {cpus_per_runner:g} CPUs do not fit: "
            f"the cluster has {num_cpus:g} CPUs, enough for {fit}",
            "Lower --min-env-runners or --cpus-per-env-runner (fractions are allowed), or add nodes.",
        )


def check_memory(free_bytes: int | None, num_runners: int) -> Advice | None:
    """Whether this machine's free memory holds so many runners; None: it does, or nobody knows."""
    fit = num_runners if free_bytes is None else free_bytes // RUNNER_BYTES
    if fit >= num_runners:
        return None
    return Advice(
        f"{num_runners} runners need about {num_runners * RUNNER_BYTES / 1e9:.1f} GB of memory, "
        f"{(free_bytes or 0) / 1e9:.1f} GB are free",
        f"About {fit} fit: --num-env-runners {fit}.",
    )


def free_memory() -> int | None:
    """Bytes that can be had without swapping; of the container, where there is one. None: unknown."""
    found = []
    try:
        pages = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        found += [int(pages[1]) * 1024] if pages else []
    except OSError:
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        # What files take there is given back when memory runs short.
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        used = int((group / "memory.current").read_text()) - (int(cached[1]) if cached else 0)
        found.append(max(0, limit - used))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def check_disk(path: Path, free_bytes: int | None = None) -> None:
    """Whether there is room for a run.

    Args:
        free_bytes: Room at ``path``; default: what there is.

    Raises:
        RunDirectoryError: There is too little.
    """
    if free_bytes is None:
        try:
            usage = shutil.disk_usage(path)
        except OSError:
            return
        if usage.total == 0:
            return  # a file system that does not say
        free_bytes = usage.free
    if free_bytes < MIN_DISK_BYTES:
        raise RunDirectoryError(
            f"{path} has {free_bytes / 2**20:.0f} MiB left, a run needs at least {MIN_DISK_BYTES // 2**20}",
            "Make room, or give a --run-dir on another disk.",
        )


def check_enough_tasks(config: TrainConfig, num_runners: int) -> Advice | None:
    """How many runners would idle for want of tasks, and what would feed them; None: all have work."""
    if (num_tasks := _num_tasks(config, config.episodes_per_iteration)) >= num_runners:
        return None
    size = config.episodes_per_task
    # Automatic tasks are of one episode while there are fewer than 128, and of 64 at most.
    candidates = [num_runners, 64 * num_runners] if size == "auto" else [num_runners * size]
    enough = next(episodes for episodes in candidates if _num_tasks(config, episodes) >= num_runners)
    return Advice(
        f"{num_runners - num_tasks} of {num_runners} runners will idle: an iteration has {num_tasks} tasks",
        f"--episodes-per-iteration {enough} would give each of them one.",
    )


def _num_tasks(config: TrainConfig, episodes: int) -> int:
    size = config.episodes_per_task
    return -(-episodes // (automatic_episodes_per_task(episodes) if size == "auto" else size))


def check_before_start(config: TrainConfig, run: Path | None = None) -> None:
    """What can be known before anything is made or started.

    Args:
        run: The run's directory, if it is there already.

    Raises:
        ConfigError: No cluster is at the address, or it does not take this process in.
        RunDirectoryError: There is no room for the run.
    """
    if config.address is not None:
        check_answers(config.address)
    path = run or Path(config.run_dir or "runs").absolute()
    there = (parent for parent in (path, *path.parents) if os.path.isdir(parent))  # noqa: PTH112 - long names
    check_disk(next(there))


def check_cluster(
    config: TrainConfig, num_runners: int, num_cpus: float, is_own: bool, can_grow: bool
) -> list[Advice]:
    """What can be known when the cluster is there, and no runner yet.

    Args:
        num_cpus: CPUs of the cluster.
        is_own: Whether this process started it, so that it is this machine.
        can_grow: Whether it adds nodes by itself.

    Raises:
        ConfigError: The fewest runners asked for do not fit.
    """
    if not is_own:
        fewest = config.min_env_runners
        if config.num_env_runners == "auto":  # never more than there are tasks
            fewest = min(fewest, _num_tasks(config, config.episodes_per_iteration))
        check_runners_fit(num_cpus, config.cpus_per_env_runner, fewest, can_grow)
    found = (
        check_memory(free_memory(), num_runners) if is_own else None,
        check_enough_tasks(config, num_runners),
    )
    return [advice for advice in found if advice is not None]


def can_grow(status: bytes | None) -> bool:
    """Whether a cluster adds nodes by itself, from what its autoscaler reports; True where it says nothing.

    One that `ray start` made has an autoscaler too, which names each node's type after the node alone.
    """
    try:
        types = json.loads(status or b"")["autoscaler_report"]["active_nodes"]
        return not types or not all(str(kind).startswith("node_") for kind in types)
    except (ValueError, KeyError, TypeError):
        return True


def _ray_directory() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"


def version_problem(text: str) -> tuple[str, str] | None:
    """What Ray says of differing versions, as message and hint; None: it complains of something else."""
    found = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    if "Version mismatch" not in text or len(found) < 2:
        return None
    (their_ray, their_python), (our_ray, our_python) = found[:2]
    return (
        f"the cluster runs Ray {their_ray} and Python {their_python}, "
        f"this process Ray {our_ray} and Python {our_python}",
        "Install the cluster's versions here, or the other way round: they must be the same.",
    )
