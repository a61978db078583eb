"""What an option may hold, in the terms of its type annotation, and how users are told."""

from __future__ import annotations

import math
import os
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from distpg.errors import ConfigError

# Deeper than any environment's arguments; structures that contain themselves end here.
_MAX_DEPTH = 100
OPTIONS_HELP = "distpg train --help lists every option with its default."


def option_name(name: str) -> str:
    """The command-line spelling of a field: ``env_id`` to ``--env-id``."""
    return "--" + name.replace("_", "-")


def expand_home(path: str) -> str:
    """A path with its leading ``~`` or ``~user`` replaced, which no shell did that saw it in quotes."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where there is no such user


def check_type(name: str, value: object, expected: Any) -> None:
    """Whether an option's value is of its type.

    Raises:
        ConfigError: It is not.
    """
    if not _is_a(value, expected):
        raise ConfigError(f"{option_name(name)} cannot be {value!r}", f"It takes {describe_type(expected)}.")


def _is_a(value: object, expected: Any) -> bool:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, (tuple, list)) and all(_is_a(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and _is_json(value)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected is str:
        # Every text is a name or a path: none is empty, none has a line end or a NUL in it.
        return isinstance(value, str) and value.strip() != "" and min(value) >= " "
    return isinstance(value, expected)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _is_json(value: object, depth: int = 0) -> bool:
    """Whether strict JSON can hold a value and gives it back unchanged."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))


def describe_type(expected: Any) -> str:
    """What a user may write for an option of this type, in words."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(arguments)
    if origin is tuple:
        kind = arguments[0]
        return "a list of whole numbers" if kind is int else f"a list of {describe_type(kind)}"
    if origin is dict:
        return "a JSON object"
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return names.get(expected, "none")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` (or ``above`` it) to ``high``; None: without that bound."""

    low: float | None
    high: float | None = None
    above: bool = False

    def __contains__(self, value: float) -> bool:
        if self.low is not None and (value <= self.low if self.above else value < self.low):
            return False
        return self.high is None or value <= self.high

    def __str__(self) -> str:
        if self.above:
            return f"above {self.low}" + ("" if self.high is None else f" and at most {self.high}")
        return f"at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"


def check_range(name: str, value: object, allowed: Range) -> None:
    """Whether an option's value, if it is a number, is in its range.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, (int, float)) and value not in allowed:
        raise ConfigError(f"{option_name(name)} must be {allowed}, not {value}", OPTIONS_HELP)
