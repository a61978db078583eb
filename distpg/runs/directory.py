"""A run's directory, made once and never overwritten, and the configuration in it."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distpg.config.files import BEFORE_THERE_WERE, config_from_mapping
from distpg.config.train_config import TrainConfig, config_to_json
from distpg.errors import RunDirectoryError
from distpg.system.files import make_directories, write_atomically
from distpg.system.locks import locked


def new_run_directory(config: TrainConfig, where: Path) -> Path:
    """Make the run's directory, ``where`` or, if the configuration names none, a new one in ``where``.

    Raises RunDirectoryError if it is not empty or cannot be made.
    """
    if config.run_dir is not None:
        return _make_empty(where)
    env = re.sub(r"[^\w.-]+", "-", str(config.env_id))
    now = datetime.now(timezone.utc)
    # Two runs started in the same second get a number each.
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        path = where / f"{env}-{config.seed}-{now:%Y%m%dT%H%M%SZ}{suffix}"
        if not path.exists():
            return _make_empty(path)
    raise RunDirectoryError(f"{where} has 1000 runs of this very second", "Give --run-dir.")


def _make_empty(path: Path) -> Path:
    try:
        make_directories(path)
        if any(path.iterdir()):
            raise RunDirectoryError(
                f"{path} has something in it already", "Give another --run-dir; a run is never overwritten."
            )
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write to {path}: {error.strerror}", "Give a --run-dir that can be written to."
        ) from error
    return path


@contextlib.contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """A lock that ends with the process; raises RunDirectoryError if another has it, or if it is none."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run, os.O_RDONLY | os.O_DIRECTORY))
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"{run} is in use by another process", "Wait until it ends, or interrupt it."
            ) from error
        except OSError as error:
            raise RunDirectoryError(f"{run} is not a directory", "Check the path.") from error
        yield


def write_run_config(run: Path, config: TrainConfig) -> None:
    """Write a run's config.json, over the one that is there (StorageError: it cannot be written)."""
    write_atomically(run / "config.json", config_to_json(config).encode())


def load_run_config(run: Path) -> TrainConfig:
    """A run's configuration; raises as :func:`read_config`, and ConfigError for what is no option."""
    return config_from_mapping(BEFORE_THERE_WERE | read_config(run), TrainConfig(), str(run / "config.json"))


def read_config(run: Path) -> dict[str, Any]:
    """A run's config.json; raises RunDirectoryError if there is none, or it is damaged."""
    path = run / "config.json"
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that are too long
        raise RunDirectoryError(f"{run} is not a run directory: it has no config.json", "Check the path.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}", "The file is damaged.") from error
    if not isinstance(values, dict):
        raise RunDirectoryError(f"{path} holds no options", "The file is damaged.")
    return values
