"""What this machine has, whether a cluster answers, and whether an environment can be trusted."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from distpg.environments.envs import EnvSpec, inspect_env
from distpg.environments.reproducibility import CAUSES, Verdict, examine
from distpg.environments.speed import measure_speed
from distpg.errors import ClusterError, ConfigError
from distpg.on_ray.address import check_answers
from distpg.system.hardware import free_memory, usable_cpus
from distpg.system.version import installed_version
from distpg.training.advice import in_words, recommend

_MIB, _GIB = 2**20, 2**30
# Whole episodes are played for so long; one that does not end is cut.
_SPEED_S, _SPEED_AT_MOST_S = 0.5, 3.0
_PACKAGES = ("numpy", "gymnasium", "torch", "ray")
# Ray with two runners takes about this much.
_ENOUGH_MEMORY = 1 * _GIB
_ENOUGH_DISK = 1 * _GIB
_NEWEST_PYTHON = (3, 13)

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    status: Status
    text: str

    def __str__(self) -> str:
        return f"{self.status:<4}  {self.text}"


def examine_all(address: str | None = None, spec: EnvSpec | None = None) -> Iterator[Finding]:
    """Findings about this machine, the cluster at an address, and an environment."""
    num_cpus, free_bytes = usable_cpus(), free_memory()
    yield from _examine_machine(num_cpus, free_bytes)
    if address is not None:
        finding, cluster_cpus = _cluster(address)
        yield finding
        num_cpus, free_bytes = cluster_cpus or num_cpus, None
    if spec is not None:
        yield from _examine_environment(spec, num_cpus, free_bytes, address)


def _examine_machine(num_cpus: int, free_bytes: int | None) -> Iterator[Finding]:
    yield _python()
    needed = _requirements()
    for package in _PACKAGES:
        yield examine_package(package, needed.get(package, SpecifierSet()))
    yield _cpus(num_cpus)
    yield _memory(free_bytes)
    yield _disk(Path.cwd())


def _python() -> Finding:
    version = f"Python {platform.python_version()}"
    if tuple(map(int, platform.python_version_tuple()[:2])) > _NEWEST_PYTHON:
        return Finding("warn", f"{version}: distpg is tested up to {'.'.join(map(str, _NEWEST_PYTHON))}")
    return Finding("ok", version)


def _requirements() -> dict[str, SpecifierSet]:
    """The versions that distpg's own metadata allow; none where it is not installed."""
    try:
        requirements = map(Requirement, metadata.requires("distpg") or [])
    except metadata.PackageNotFoundError:
        return {}
    return {one.name.lower(): one.specifier for one in requirements if one.marker is None}


def examine_package(name: str, needed: SpecifierSet) -> Finding:
    """Whether a package is installed, and of a version that is needed."""
    version = installed_version(name)
    if version is None and name == "ray":
        return Finding("warn", "ray is not installed: only --num-env-runners 0 works; pip install ray")
    if version is None:
        return Finding("fail", f"{name} is not installed: pip install {name}")
    if not needed.contains(version, prereleases=True):
        return Finding("fail", f"{name} {version} does not suit: distpg needs {needed}")
    return Finding("ok", f"{name} {version}")


def _cpus(usable: int) -> Finding:
    if usable == 1:
        return Finding("warn", "1 CPU: runners would only take turns with the learner")
    return Finding("ok", f"{usable} CPUs")


def _memory(free: int | None) -> Finding:
    if free is None:
        return Finding("ok", "free memory: not known on this system")
    text = f"{_size(free)} of memory free"
    if free < _ENOUGH_MEMORY:
        return Finding("warn", f"{text}: Ray and its runners may need {_size(_ENOUGH_MEMORY)}")
    return Finding("ok", text)


def _disk(directory: Path) -> Finding:
    if not os.access(directory, os.W_OK):
        return Finding("fail", f"{directory} cannot be written to: give --run-dir, or go elsewhere")
    free = shutil.disk_usage(directory).free
    text = f"{_size(free)} of disk free in {directory}"
    if free < _ENOUGH_DISK:
        return Finding("warn", f"{text}: Ray needs some for its logs, a run for its checkpoints")
    return Finding("ok", text)


def _size(number: int) -> str:
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number / _MIB:.0f} MiB"


def _cluster(address: str) -> tuple[Finding, int | None]:
    """Whether it answers, and its CPUs if it does."""
    from distpg.on_ray.cluster import ray_cluster

    try:
        check_answers(address)  # Ray itself tries for minutes where nobody does
        with ray_cluster(address) as cluster:
            text = f"the Ray cluster at {address} has {cluster.num_cpus} CPUs"
            return Finding("ok", text), cluster.num_cpus
    except (ClusterError, ConfigError) as error:
        return Finding("fail", f"{error.message}. {error.hint}"), None


def _examine_environment(
    spec: EnvSpec, num_cpus: int, free_bytes: int | None, address: str | None
) -> Iterator[Finding]:
    """What it depends on beside seed and actions, its speed, and what runners it is worth."""
    try:
        inspect_env(spec)
    except ConfigError as error:
        yield Finding("fail", f"{error.message}. {error.hint}")
        return
    verdict = examine(spec)
    yield from _trust(spec.env_id, verdict)
    if "unchecked" in verdict.causes:
        return  # an environment that ends its process would end this one
    try:
        speed = measure_speed(spec, _SPEED_S, _SPEED_AT_MOST_S)
    except Exception as error:  # whatever the environment raises
        line = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding("fail", f"{spec.env_id} fails under random actions: {line}")
        return
    yield Finding("ok", f"{spec.env_id} makes {speed.steps / speed.seconds:,.0f} steps/s, without a policy")
    advice = recommend(speed, num_cpus, free_bytes)
    for line in in_words(speed, advice, num_cpus, address):
        yield Finding("ok", line)


def _trust(env_id: str, verdict: Verdict) -> Iterator[Finding]:
    if not verdict.causes:
        yield Finding("ok", f"{env_id} is reproducible: a function of its seed and actions")
    for cause in verdict.causes:
        if cause == "unchecked":
            yield Finding("fail", f"{env_id} could not be checked: {verdict.details}")
        elif cause == "reset":
            yield Finding("warn", f"{env_id} depends on {CAUSES[cause]}; --env-reuse auto sees to it")
        elif cause == "hash":
            yield Finding("warn", f"{env_id} depends on {CAUSES[cause]}; without runners set it to 0")
        else:
            yield Finding("fail", f"{env_id} is not reproducible: it depends on {CAUSES[cause]}")
