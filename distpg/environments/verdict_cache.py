"""Verdicts on environments, kept in the user's cache directory: a small JSON file for each."""

import contextlib
import hashlib
import inspect
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from platform import python_version
from typing import Any

import gymnasium
import numpy as np

from distpg.config.given import in_json
from distpg.environments.making import EnvSpec, callable_of, factory_of
from distpg.system.user_cache import cache_directory

# Of what is checked and how; a higher number makes all verdicts so far void.
_VERSION = 2

Key = dict[str, Any]


def verdict_key(spec: EnvSpec, kind: type[Any]) -> Key:
    """All that a verdict holds for: the environment, its arguments, its class's source, versions."""
    return {
        "check": _VERSION,
        "env_id": spec.env_id,
        "env_kwargs": in_json(spec.env_kwargs),
        "max_episode_steps": spec.max_episode_steps,
        "wrappers": list(spec.wrappers),
        "source": None if spec.is_of_this_program else _source_digest(kind, spec),
        "python": python_version(),
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
    }


def _source_digest(kind: type[Any], spec: EnvSpec) -> str | None:
    """Of the files that define the class, its bases, factory and wrappers; None where one is in no file."""
    try:
        bases = [base for base in kind.__mro__ if base.__module__ not in ("builtins", "typing")]
        factory = factory_of(spec.env_id)
        makers = [] if factory is None else [factory]
        defined: list[Any] = [*bases, *makers, *map(callable_of, spec.wrappers)]
        sources = sorted(Path(file).read_bytes() for file in set(map(inspect.getsourcefile, defined)) if file)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(b"".join(sources)).hexdigest() if sources else None


def _path(key: Key) -> Path:
    """An OSError where the class's source is not known, a RuntimeError where the user has no home."""
    if key["source"] is None:
        raise FileNotFoundError(f"the source of {key['env_id']}")
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return cache_directory() / "environments" / f"{name}.json"


def cached_causes(key: Key, known: Iterable[str]) -> tuple[str, ...] | None:
    """The causes of an earlier verdict; None where there is none, or its file is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        found = json.loads(_path(key).read_text(encoding="utf-8"))
        if found["key"] == key and set(found["causes"]) <= set(known):
            return tuple(found["causes"])
    return None


def keep_causes(key: Key, causes: tuple[str, ...]) -> None:
    """Keep a verdict's causes for the next start; where the cache cannot be written, it is left out."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two starts at once may keep the same verdict.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            json.dump({"key": key, "causes": list(causes)}, file, indent=2)
        Path(file.name).replace(path)
