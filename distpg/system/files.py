"""Small files that are seen whole or not at all, and JSON that everybody reads."""

import contextlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distpg.errors import ConfigError, StorageError


def check_directory_of(path: Path, option: str) -> None:
    """Whether a file that an option names could be there at all (ConfigError: it could not)."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is not a directory", f"Check the path given to {option}.")


def make_directories(path: Path) -> None:
    """Make a directory and all that is missing above it, for good even if the power is cut (OSError)."""
    new = list(itertools.takewhile(lambda directory: not directory.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=True)
    for directory in reversed(new):
        sync_directory(directory.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is seen whole or not at all, even after a power cut (StorageError: it cannot be)."""
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        write_durably(temporary, content)
        temporary.replace(path)
        sync_directory(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> StorageError:
    """What to tell a user whose run directory cannot be written any more."""
    hint = "Make room, or make the directory writable again."
    return StorageError(f"cannot write {path}: {error.strerror or error}", hint)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses meanwhile is a :func:`storage_error` of ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def strict_json(values: Mapping[str, Any]) -> str:
    """One line of JSON in which a number that is not finite is null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
    return json.dumps(finite, allow_nan=False)
