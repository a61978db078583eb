"""What this machine has, whether a cluster answers, and whether an environment can be trusted."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from distpg.config.train_config import TrainConfig
from distpg.environments.contract import FirstLook, first_look
from distpg.environments.making import EnvSpec
from distpg.environments.reproducibility import CAUSES, examine
from distpg.environments.speed import measure_speed
from distpg.errors import ClusterError, ConfigError
from distpg.errors import in_words as error_in_words
from distpg.on_ray.address import check_answers
from distpg.on_ray.cluster import ray_cluster
from distpg.system.hardware import free_memory, usable_cpus
from distpg.system.interrupts import Interrupted
from distpg.system.streams import own_stdout
from distpg.system.time_limit import time_limit
from distpg.system.user_cache import usable_cache
from distpg.system.version import installed_version
from distpg.training.advice import in_words, recommend
from distpg.training.preflight import bytes_per_step
from distpg.training.prepare import suitable_normalisation

_GIB = 2**30
# Whole episodes are played for so long; one that does not end is cut.
_SPEED_S, _SPEED_AT_MOST_S = 0.5, 3.0
# Ray with two runners takes about this much memory, and leaves about so much on the disk.
_ENOUGH = _GIB
_NEWEST_PYTHON = (3, 13)


class Finding(NamedTuple):
    """One line of the report."""

    status: Literal["ok", "warn", "fail"]
    text: str

    def __str__(self) -> str:
        return f"{self.status:<4}  {self.text}"


def examine_all(address: str | None = None, spec: EnvSpec | None = None) -> Iterator[Finding]:
    """Findings about this machine, the cluster at an address, and an environment."""
    num_cpus, free_bytes = usable_cpus(), free_memory()
    yield from _examine_machine(num_cpus, free_bytes)
    if address is not None:
        try:
            check_answers(address)  # Ray itself tries for minutes where nobody does
            with ray_cluster(address) as cluster:
                num_cpus = cluster.num_cpus
            yield Finding("ok", f"the Ray cluster at {address} has {num_cpus:g} CPUs")
            for advice in cluster.advice:
                yield Finding("warn", f"{advice.why}. {advice.hint}")
        except (ClusterError, ConfigError) as error:
            yield Finding("fail", f"{error.message}. {error.hint}")
        free_bytes = None
    if spec is not None:
        yield from _examine_environment(spec, num_cpus, free_bytes, address)


def _examine_machine(num_cpus: float, free_bytes: int | None) -> Iterator[Finding]:
    is_newer = tuple(map(int, platform.python_version_tuple()[:2])) > _NEWEST_PYTHON
    tested = f"distpg is tested up to {'.'.join(map(str, _NEWEST_PYTHON))}"
    yield _warn_if(is_newer, f"Python {platform.python_version()}", tested)
    needed = _requirements()
    for package in ("numpy", "gymnasium", "torch", "ray"):
        yield examine_package(package, needed.get(package, SpecifierSet()))
    cpus = f"{num_cpus:g} CPU{'' if num_cpus == 1 else 's'}"
    yield _warn_if(num_cpus < 2, cpus, "runners would only take turns with the learner")
    if free_bytes is None:
        yield Finding("ok", "free memory: not known on this system")
    else:
        why = f"Ray and its runners may need {_size(_ENOUGH)}"
        yield _warn_if(free_bytes < _ENOUGH, f"{_size(free_bytes)} of memory free", why)
    if os.access(here := Path.cwd(), os.W_OK):
        free, why = shutil.disk_usage(here).free, "Ray needs some for its logs, a run for its checkpoints"
        yield _warn_if(free < _ENOUGH, f"{_size(free)} of disk free in {here}", why)
    else:
        yield Finding("fail", f"{here} cannot be written to: give --run-dir, or go elsewhere")
    cache = usable_cache()
    text = f"what is compiled once is kept in {cache}"
    if cache is None:
        text = "no directory of yours to keep what is compiled once (XDG_CACHE_HOME names another one)"
    yield _warn_if(cache is None, text, "every start takes seconds longer")


def _warn_if(is_bad: bool, text: str, why: str) -> Finding:
    return Finding("warn", f"{text}: {why}") if is_bad else Finding("ok", text)


def _size(number: int) -> str:
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number / 2**20:.0f} MiB"


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


def _examine_environment(
    spec: EnvSpec, num_cpus: float, free_bytes: int | None, address: str | None
) -> Iterator[Finding]:
    """What it depends on beside seed and actions, its speed, and what runners it is worth."""
    timeout_s = TrainConfig().env_start_timeout_s
    try:
        with own_stdout():
            made = first_look(spec, timeout_s, plays=lambda origin: False)
        # Elsewhere first: an environment that ends its process would end this one.
        verdict = examine(spec, made)
        if "unchecked" in verdict.causes:
            yield _examine_cause(spec.env_id, "unchecked", verdict.details)
            return
        with own_stdout():
            look = first_look(spec, timeout_s)
            with time_limit(timeout_s):
                speed = measure_speed(spec, _SPEED_S, _SPEED_AT_MOST_S)
    except ConfigError as error:
        yield Finding("fail", f"{error.message}. {error.hint}")
        return
    except Interrupted:
        raise
    except BaseException as error:  # whatever the environment raises
        yield Finding("fail", f"{spec.env_id} fails under random actions: {error_in_words(error)}")
        return
    if not verdict.causes:
        yield Finding("ok", f"{spec.env_id} is reproducible: a function of its seed and actions")
    if verdict.is_seeded:
        why = " and ".join(CAUSES[cause] for cause in verdict.causes if cause != "hash")
        yield Finding("ok", f"{spec.env_id} is reproducible with {why} seeded at each reset: train does it")
    for cause in () if verdict.is_seeded else verdict.causes:
        yield _examine_cause(spec.env_id, cause, verdict.details)
    yield from _examine_spaces(look)
    if look.complaint is not None:
        yield Finding("warn", look.complaint)
    yield Finding("ok", f"{spec.env_id} makes {speed.steps / speed.seconds:,.0f} steps/s, without a policy")
    for line in in_words(speed, recommend(speed, num_cpus, free_bytes), num_cpus, address):
        yield Finding("ok", line)


def _examine_spaces(look: FirstLook) -> Iterator[Finding]:
    """What the policy gets to see, and how much memory that takes."""
    env, kept = look.info, look.info.observations
    how = {"none": "as they are", "bounds": "scaled by their bounds", "running": "scaled by what was seen"}
    yield Finding(
        "ok",
        f"observations of {kept.size:,} numbers, {kept.dtype}, from {look.low:.4g} to {look.high:.4g} in the "
        f"first steps; the policy sees them {how[suitable_normalisation(kept)]}",
    )
    sizes = env.actions.sizes
    kind = f"one of {sizes[0]} categories" if len(sizes) == 1 else f"{len(sizes)} categories of {sum(sizes)}"
    if not env.actions.is_categorical:
        kind = f"{len(sizes)} number{'s' if len(sizes) > 1 else ''}"
    where = {"none": "", "info": ", masked by info", "observation": ", masked by a part of observations"}
    yield Finding("ok", f"an action is {kind}{where[look.action_mask]}")
    step = bytes_per_step(env, look.action_mask != "none")
    limit, episodes = env.max_episode_steps, TrainConfig().episodes_per_iteration
    most = "" if limit is None else f": an iteration at most {step * limit * episodes / 1e6:,.1f} MB"
    yield Finding("ok", f"a step takes {step:,} bytes{most}")


def _examine_cause(env_id: str, cause: str, details: str | None) -> Finding:
    if cause == "unchecked":
        return Finding("fail", f"{env_id} could not be checked: {details}")
    cures = {"reset": "--env-reuse auto sees to it", "hash": "without runners set it to 0"}
    if cause in cures:
        return Finding("warn", f"{env_id} depends on {CAUSES[cause]}; {cures[cause]}")
    return Finding("fail", f"{env_id} is not reproducible: it depends on {CAUSES[cause]}")
