"""Starting a Ray cluster on this machine, or attaching to one that runs."""

import contextlib
import logging
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.core.events import Advice
from distpg.errors import ClusterError, ConfigError, DistpgError
from distpg.on_ray.address import TOKEN_HINT, can_grow, version_problem
from distpg.on_ray.own_node import is_known, only_what_runners_need
from distpg.on_ray.shipping import NOT_SHIPPED, Shipment
from distpg.on_ray.tokens import advice_on_file, read_again, variables_for_own_cluster
from distpg.system.garbage import load
from distpg.system.hardware import whole_cpus
from distpg.system.interrupts import kept_from_children
from distpg.system.numerics import runner_environment
from distpg.system.temporary import temporary_directory

# Ray keeps results larger than 100 KB in shared memory. Batches are read at once, so little is enough.
_OBJECT_STORE_BYTES = 256 * 2**20
_RUNNER_ENVIRONMENT = runner_environment()

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}

# Ray makes its workers nice (15). Where all cores are in use, those that wake from a wait then stand behind
# everything else, and two that compute are less than twice as fast as one.
_NICENESS = "RAY_worker_niceness"

# Else Ray starts a worker for each CPU before any is asked for, and has the driver wait for them.
_PRESTART = "RAY_prestart_worker_first_driver"

# Where much is started at once, Ray's processes may need longer than Ray waits for them.
_TOO_LATE = re.compile(r"timed? ?out|overloaded|failed to start gcs", re.IGNORECASE)
_PAUSE_S = 5.0

# A session's directory and the longest socket's name in it take 69 bytes of the 107 that a socket's path has.
_LONGEST_PARENT = 107 - 69 - len("/distpg-ray-xxxxxxxx")


@dataclass(frozen=True)
class RayCluster:
    """The cluster in use: its CPUs, whether this process started it, and whether it adds nodes by itself."""

    num_cpus: int
    is_own: bool
    can_grow: bool = False
    advice: tuple[Advice, ...] = ()


@contextlib.contextmanager
def ray_cluster(address: str | None, shipment: Shipment | None = None) -> Iterator[RayCluster]:
    """A running cluster: a new one on this machine (address None), or the one at ``address``.

    Runners at an address get a copy of ``shipment``, without what .gitignore names.

    A cluster started here demands a token of whoever connects, since Ray listens on all interfaces: one that
    only its processes know, unless the user's environment names one. It is shut down at the end with nothing
    left behind. If this process is connected to a cluster already, that one is used and left running.

    Raises:
        ClusterError: Ray is not installed, could not be started, or is not at the address.
        ConfigError: The cluster's versions of Ray or Python are others.
    """
    try:
        load("ray")
        import ray
    except ImportError as error:
        raise ClusterError(
            "Ray is not installed", "pip install ray, or collect in this process: --num-env-runners 0."
        ) from error
    if ray.is_initialized():
        yield RayCluster(num_cpus(), is_own=False, can_grow=True, advice=tuple(advice_on_file()))
        return
    _keep_quiet()
    with contextlib.ExitStack() as stack:
        if address is None:
            advice = _start_own(stack)
            yield RayCluster(num_cpus(), is_own=True, advice=tuple(advice))
            return
        stack.callback(ray.shutdown)
        try:
            ray.init(address, runtime_env=_runtime_env(shipment), **_QUIET)
        except Exception as error:  # Ray raises many kinds, some of them its own
            raise _why_not(address, error) from error
        advice = advice_on_file()
        yield RayCluster(num_cpus(), False, can_grow(_autoscaler_status()), tuple(advice))


def _runtime_env(shipment: Shipment | None) -> dict[str, Any]:
    """What Ray gives runners of an attached cluster."""
    environment: dict[str, Any] = {"env_vars": _RUNNER_ENVIRONMENT}
    if shipment is None:
        return environment
    environment["excludes"] = list(NOT_SHIPPED)
    if shipment.why_module_alone is None:
        return environment | {"working_dir": shipment.path}
    return environment | {"py_modules": [shipment.path]}


def _keep_quiet() -> None:
    """Ray prints pages about each worker that dies, over the live display. distpg says it in a line.

    Nor may it take SIGTERM for itself, and end the process with that signal's number.
    """
    import ray._private.utils as utils
    import ray._private.worker as worker

    for module, name in ((worker, "print_to_stdstream"), (utils, "set_sigterm_handler")):
        if hasattr(module, name):
            setattr(module, name, lambda *args, **kwargs: None)


def _start_own(stack: contextlib.ExitStack) -> list[Advice]:
    """Start a cluster that ends with ``stack``; twice if need be (ClusterError: it does not start)."""
    import ray

    # In this order, so that Ray has ended when its files are removed.
    directory = _own_directory(stack)
    stack.callback(read_again)
    stack.callback(ray.shutdown)
    try:
        try:
            return _start(directory)
        except Exception as error:
            is_late = _TOO_LATE.search(str(error)) is not None
            if not is_late and not is_known():
                raise
        ray.shutdown()
        _end_children(directory)
        advice = []
        if is_late:
            time.sleep(_PAUSE_S)
            why = "Ray did not start in time, and did so at the second try: this machine is very busy"
            advice = [Advice(why, "Start fewer trainings at once.")]
        return [*_start(directory, with_all=True), *advice]
    except Exception as error:  # Ray raises many kinds, some of them its own
        _end_children(directory)
        raise _why_not(None, error) from error


def _start(directory: Path, with_all: bool = False) -> list[Advice]:
    """Start a cluster whose files are in ``directory``, and say what a user should know of its token.

    Args:
        with_all: Whether the node is as Ray starts it by itself, should it be that which failed.
    """
    import ray

    # Processes that Ray starts inherit these; this process gets its own values back.
    variables = {
        **_RUNNER_ENVIRONMENT,
        **{name: os.environ.get(name, "0") for name in (_NICENESS, _PRESTART)},
        **variables_for_own_cluster(),
    }
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        read_again()
        with kept_from_children(), contextlib.nullcontext() if with_all else only_what_runners_need():
            ray.init(
                address="local",
                num_cpus=whole_cpus(),
                include_dashboard=False,
                configure_logging=True,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(directory),
                **_QUIET,
            )
        return advice_on_file()
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)


def _end_children(directory: Path) -> None:
    """End what a start that failed has left: Ray only does so when this process ends."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # it has ended
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and os.fsencode(directory) in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def _own_directory(stack: contextlib.ExitStack) -> Path:
    """A directory for a cluster's files, as long as ``stack`` is open (ClusterError: it cannot be made)."""
    try:
        usual = tempfile.gettempdir()
        parent = Path(usual if len(os.fsencode(usual)) <= _LONGEST_PARENT else "/tmp")
        return stack.enter_context(temporary_directory("distpg-ray-", parent))
    except OSError as error:
        raise ClusterError(
            f"Ray has no room for its files: {error.strerror}: {error.filename}",
            "Make room in the directory for temporary files, or name another one by TMPDIR.",
        ) from error


def num_cpus() -> int:
    """CPUs of the cluster that this process is connected to, as of now."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))


def _autoscaler_status() -> bytes | None:
    try:
        from ray.experimental.internal_kv import _internal_kv_get

        status: bytes | None = _internal_kv_get(b"__autoscaling_status")
    except Exception:  # of no version's public interface
        return None
    return status


def _why_not(address: str | None, error: Exception) -> DistpgError:
    """What to tell a user whose cluster did not come."""
    line = " ".join(str(error).split())[:300]
    hint = "Try --num-env-runners 0, which needs no Ray."
    if address is None and _TOO_LATE.search(line):
        why = "Ray did not start in time, twice: this machine is too busy"
        return ClusterError(
            why, "Try again when it has less to do, or --num-env-runners 0, which needs no Ray."
        )
    if address is None:
        return ClusterError(f"Ray could not be started: {line}", hint)
    if (problem := version_problem(str(error))) is not None:
        return ConfigError(*problem)
    if "authenticat" in line.lower():
        return ClusterError(f"the cluster at {address} demands its token: {line}", TOKEN_HINT)
    return ClusterError(f"no Ray cluster answers at {address}: {line}", hint)


def cpus_per_env_runner(cluster: RayCluster, num_env_runners: int, asked: float) -> float:
    """CPUs that each runner asks Ray for.

    Ray places no actor that does not fit, so on a cluster started here runners share what there is.
    """
    return min(1.0, cluster.num_cpus / num_env_runners) if cluster.is_own else asked
