"""What only the calling program has, classes, functions and values, under the names that files give it."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

PREFIX = "python:"


class Given(str):
    """A name for files and messages, with what it names.

    It travels to runners by value, as Ray pickles it: the user's own code, from the user's own process.
    """

    value: Any

    def __new__(cls, value: Any) -> Given:
        """Name a class, a function or another value."""
        named = value if hasattr(value, "__qualname__") else type(value)
        given = super().__new__(cls, f"{PREFIX}{named.__module__}:{named.__qualname__}{_content(value)}")
        given.value = value
        return given

    def __reduce__(self) -> tuple[Callable[[Any], Given], tuple[Any]]:
        """Pickled as what it names."""
        return Given, (self.value,)


def _content(value: Any) -> str:
    """What tells plain values and arrays from others of their type: another is another configuration."""
    if isinstance(value, numbers.Number):
        return f"({value!s})"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        return f"({digest.hexdigest()[:16]})"
    if isinstance(value, bytes):
        return f"({hashlib.sha256(value).hexdigest()[:16]})"
    if isinstance(value, (tuple, set, frozenset)):
        items = [json.dumps(in_json(item)) for item in value]
        return f"({', '.join(items if isinstance(value, tuple) else sorted(items))})"
    key = getattr(value, "key", None)  # as compiled environments have one
    return f"({key[:16]})" if isinstance(key, str) else ""


def given(value: Any) -> Any:
    """Texts as they are, anything else that can be called under its name."""
    return Given(value) if callable(value) and not isinstance(value, str) else value


def is_of_a_program(value: object) -> bool:
    """Whether a value read from a file is the name of what only the program had that wrote it."""
    return isinstance(value, str) and value.startswith(PREFIX) and not isinstance(value, Given)


def in_json(value: Any) -> Any:
    """A value as strict JSON holds it and gives it back; what it cannot hold, under its name."""
    if isinstance(value, dict):
        return {key: in_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [in_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(Given(value))


def missing(values: Any) -> list[str]:
    """Names of what is in these values, read from a file, and only the program had that wrote it."""
    if isinstance(values, Mapping):
        return [name for value in values.values() for name in missing(value)]
    if isinstance(values, (list, tuple)):
        return [name for value in values for name in missing(value)]
    return [str(values)] if is_of_a_program(values) else []
