"""What an option may hold, in the terms of its type annotation, and how users are told."""

from __future__ import annotations

import math
import types
import typing
from typing import Any, Literal

from distpg.errors import ConfigError

OPTIONS_HELP = "distpg train --help lists every option with its default."


def option_name(name: str) -> str:
    """The command-line spelling of a field: ``env_id`` to ``--env-id``."""
    return "--" + name.replace("_", "-")


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
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def describe_type(expected: Any) -> str:
    """What a user may write for an option of this type, in words."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(arguments)
    if origin is tuple:
        return "a list of whole numbers"
    if origin is dict:
        return "a JSON object"
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return names.get(expected, "none")


def check_range(name: str, value: object, low: float, high: float | None) -> None:
    """Whether an option's value, if it is a number, lies between the bounds; None: no upper one.

    Raises:
        ConfigError: It does not.
    """
    if not isinstance(value, (int, float)) or (value >= low and (high is None or value <= high)):
        return
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"
    raise ConfigError(f"{option_name(name)} must be {bounds}, not {value}", OPTIONS_HELP)
