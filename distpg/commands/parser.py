"""Between the ``tyro`` parser and our own conventions: JSON options, and errors as one line and a hint."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

import tyro
from tyro import _errors as parse_errors

from distpg.config.option_types import describe_type, expand_home, option_name
from distpg.errors import ConfigError

# Options and arguments that are paths, beside those of TrainConfig.
_PATHS = frozenset({"run", "runs", "config", "video", "output", "plot"})

OptionsT = TypeVar("OptionsT")


def parse(
    defaults: OptionsT, program: str, arguments: Sequence[str], ignore_others: bool = False
) -> OptionsT:
    """The command line as a copy of the dataclass instance ``defaults``, with ``~`` expanded in paths.

    Raises:
        ConfigError: An option is unknown, lacks its value, or has a wrong one.
        SystemExit: After ``--help``.
    """
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_json_object_rule)
    registry.primitive_rule(_none_rule)
    options = type(defaults)
    with parse_errors.on_parse_error(lambda event: _raise_config_error(event, options)):
        # Its overloads distinguish calls by literals.
        cli: Any = tyro.cli
        parsed = cli(
            options,
            default=defaults,
            prog=program,
            args=arguments,
            registry=registry,
            add_help=not ignore_others,
            return_unknown_args=ignore_others,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    result = parsed[0] if ignore_others else parsed
    paths = {name: _expanded(value) for name, value in vars(result).items() if name in _PATHS}
    expanded: OptionsT = dataclasses.replace(result, **paths)
    return expanded


def _expanded(paths: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    if isinstance(paths, tuple):
        return tuple(map(expand_home, paths))
    return None if paths is None else expand_home(paths)


def _json_object_rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Options of type ``dict`` are written as one JSON object."""
    if typing.get_origin(info.type) is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda strings: _json_object(strings[0]),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


def _none_rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """``none``, as the other words on the command line are written."""
    if info.type is not type(None):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda strings: _none(strings[0]),
        is_instance=lambda value: value is None,
        str_from_instance=lambda _: ["none"],
    )


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(f"{text} is not none")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


def _raise_config_error(event: parse_errors.ParseErrorEvent, options: type[Any]) -> NoReturn:
    """Turn a parser's complaint into ours.

    Raises:
        ConfigError: Always.
    """
    types = _option_types(options)
    if isinstance(event, parse_errors.UnrecognizedArgs):
        raise _unknown(event.tokens[0], list(types))
    argument = getattr(event, "argument", None)
    if argument is None:
        message = getattr(event, "message", type(event).__name__)
        raise ConfigError(f"the command line is wrong: {message}", f"See {event.prog} --help.")
    name = "--" + argument.display_name().lstrip("-")
    takes = f"It takes {describe_type(types[name])}." if name in types else f"See {event.prog} --help."
    if isinstance(event, parse_errors.InvalidChoice):
        raise ConfigError(f"{name} cannot be {event.value!r}", takes)
    if isinstance(event, parse_errors.BadValue):
        raise ConfigError(f"{name} needs a value", takes)
    message = getattr(event, "message", "").split("\n")[0].rstrip(".")
    raise ConfigError(f"{name} has a wrong value: {message}", takes)


def _option_types(options: type[Any]) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for name, expected in typing.get_type_hints(options).items():
        if dataclasses.is_dataclass(expected):
            types |= _option_types(typing.cast("type[Any]", expected))
        else:
            types[option_name(name)] = expected
    return types


def _unknown(token: str, known: list[str]) -> ConfigError:
    if not token.startswith("-"):
        return ConfigError(f"unexpected argument {token!r}", "Options are written --name value.")
    option = token.split("=")[0]
    close = get_close_matches(option, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else "--help lists the options."
    return ConfigError(f"there is no option {option}", hint)
