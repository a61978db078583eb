"""What runners on other machines get of this one: the working directory, or one module of it."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.given import PREFIX
from distpg.core.events import Advice

# Never shipped, beside what .gitignore and .rayignore name.
NOT_SHIPPED = ("/runs/", ".venv/", ".git/", "__pycache__/")
# Ray packs what it ships, holds it in the head's memory, and takes less than 512 MiB.
_MAX_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Shipment:
    """A directory whose modules can be imported where it arrives, or one module."""

    path: str
    why_module_alone: str | None = None

    def advice(self) -> list[Advice]:
        """What a user should know who expects the working directory to arrive."""
        if self.why_module_alone is None:
            return []
        why = f"runners get only {Path(self.path).name}: the working directory {self.why_module_alone}"
        hint = "Where it imports more from there, start distpg in a directory that has only what is needed."
        return [Advice(why, hint)]


def shipment_of(*names: str) -> Shipment | None:
    """What has to be shipped for an environment, its wrappers and a policy; None: nothing is from here.

    Where it can be one module alone, that is the first one's of these names.
    """
    here = Path.cwd()
    parts = [name.removeprefix(PREFIX).partition(":") for name in names]
    modules = [module.split(".")[0] for module, colon, _ in parts if colon]
    places = [here / name if (here / name).is_dir() else here / f"{name}.py" for name in modules]
    found = next((place for place in places if place.exists()), None)
    if found is None or _is_shipped_by_job():
        return None
    if _is_home_or_above(here):
        return Shipment(str(found), f"is {here}")
    if _holds_more_than(here, _MAX_BYTES):
        return Shipment(str(found), f"has more than {_MAX_BYTES // 2**20} MiB")
    return Shipment(str(here))


def _is_home_or_above(path: Path) -> bool:
    try:
        home = Path.home()
    except RuntimeError:  # a user whom the system does not know
        return False
    return path == home or path in home.parents


def _is_shipped_by_job() -> bool:
    """Whether this is a job whose working directory Ray ships already; it takes no second one."""
    try:
        job: dict[str, Any] = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        return bool((job.get("runtime_env") or {}).get("working_dir"))
    except (ValueError, AttributeError):
        return True


class _TooMuchError(Exception):
    """Nothing more has to be looked at."""


def _holds_more_than(directory: Path, limit: int) -> bool:
    """Whether what Ray would ship of a directory has more than ``limit`` bytes, before it is packed."""
    try:
        # Of no public interface, but the way Ray itself goes, and the only reader of its ignore files.
        from ray._private.runtime_env.packaging import _dir_travel, _get_excludes
    except ImportError:
        return False
    total = 0

    def add(path: Path) -> None:
        nonlocal total
        if path.is_file():
            total += path.stat().st_size
        if total > limit:
            raise _TooMuchError

    nobody = logging.Logger("silent", logging.CRITICAL + 1)
    excludes = [_get_excludes(directory, list(NOT_SHIPPED))]
    try:
        _dir_travel(directory, excludes, add, include_gitignore=True, logger=nobody)
    except _TooMuchError:
        return True
    except OSError:  # a file that is gone, or a directory that may not be read: Ray will say so
        return False
    return False
