"""Starting a Ray cluster on this machine, or attaching to one that runs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

from distpg.errors import ClusterError
from distpg.numerics import numerics_environment

# Ray keeps results larger than 100 KB in shared memory. Batches are read at once, so little is enough.
_OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class RayCluster:
    """The cluster in use: its CPUs, and whether this process started it."""

    num_cpus: int
    is_own: bool


@contextlib.contextmanager
def ray_cluster(address: str | None) -> Iterator[RayCluster]:
    """A running cluster: a new one on this machine (address None), or the one at ``address``.

    A cluster started here demands Ray's token of whoever connects, since Ray listens on all interfaces, and
    is shut down at the end. If this process is connected to a cluster already, that one is used and left
    running.

    Raises:
        ClusterError: Ray is not installed, could not be started, or is not at the address.
    """
    # Read by Ray when it is imported and by the processes it starts, which inherit it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            "Ray is not installed", "pip install ray, or collect in this process: --num-env-runners 0."
        ) from error
    if ray.is_initialized():
        yield RayCluster(int(ray.cluster_resources().get("CPU", 1)), is_own=False)
        return
    runner_environment = {**numerics_environment(), "PYTHONHASHSEED": "0"}
    try:
        if address is None:
            with _environment(runner_environment):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    configure_logging=True,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                )
        else:
            ray.init(
                address=address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": runner_environment},
            )
    except Exception as error:  # Ray raises many kinds, some of them its own
        line = " ".join(str(error).split())[:300]
        what = "Ray could not be started" if address is None else f"no Ray cluster answers at {address}"
        raise ClusterError(f"{what}: {line}", "Try --num-env-runners 0, which needs no Ray.") from error
    try:
        yield RayCluster(int(ray.cluster_resources().get("CPU", 1)), is_own=address is None)
    finally:
        ray.shutdown()


def cpus_per_env_runner(cluster: RayCluster, num_env_runners: int, asked: float) -> float:
    """CPUs that each runner asks Ray for.

    Ray places no actor that does not fit, so on a cluster started here runners share what there is.
    """
    return min(1.0, cluster.num_cpus / num_env_runners) if cluster.is_own else asked


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    # Processes that Ray starts inherit these; this process gets its own values back.
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
