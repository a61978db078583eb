"""Between the ``tyro`` parser and our own conventions: how values are written, and errors as two lines.

``tyro`` splits the command line and prints the help. Words become values by :func:`read_word`, which leaves
a wrong one as it is, so that ``TrainConfig`` and :func:`check_option` refuse it as they do a file's.
"""

import dataclasses
import itertools
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import tyro

from distpg.config.given import in_json
from distpg.config.option_types import (
    Option,
    check_option,
    describe_type,
    expand_home,
    is_a,
    likely_option,
    option_name,
    options_of,
    read_word,
)
from distpg.errors import ConfigError

# Fields that are no options: they stand on the command line without a name.
_ARGUMENTS = ("run", "runs")
# Fields that are paths, beside those of TrainConfig.
_PATHS = ("run", "runs", "config", "video", "output", "plot")
_ORIGINS = (typing.Union, types.UnionType, Literal, tuple, dict)

_HELP = ("-h", "--help")

OptionsT = TypeVar("OptionsT")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command is to list its options, and no more."""
    return not set(_HELP).isdisjoint(arguments)


def parse(
    defaults: OptionsT, program: str, arguments: Sequence[str], ignore_others: bool = False
) -> OptionsT:
    """The command line as a copy of the dataclass instance ``defaults``, with ``~`` expanded in paths.

    Args:
        ignore_others: Other options, and ``--help``, are somebody else's.

    Raises:
        ConfigError: An option is unknown, lacks its value, or has a wrong one, or a run directory is missing.
        SystemExit: After ``--help``.
    """
    known = dict(_named_options(type(defaults)))
    wants_help = not ignore_others and asks_for_help(arguments)
    if not wants_help:
        _check_values_are_there(known, arguments)
    try:
        options, others = _split(defaults, program, ["--help"] if wants_help else arguments, wants_help)
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError("the command line is wrong", f"See {program} --help.") from end
    if others and not ignore_others:
        raise _unknown(others[0], list(known))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        name, value = field.name, getattr(options, field.name)
        option = known.get(option_name(name))  # None: an argument, or TrainConfig, which has checked itself
        # Texts are checked by whoever opens them.
        if option is not None and str not in (option.type, *typing.get_args(option.type)):
            check_option(name, value, option, f"{program} --help lists its options with their defaults.")
        if name in _ARGUMENTS and not value:
            raise ConfigError(f"{program} needs a run directory", f"Example: {program} runs/CartPole-v1-0-…")
        if name in _PATHS and value is not None:
            changes[name] = tuple(map(expand_home, value)) if name == "runs" else expand_home(value)
    parsed: OptionsT = dataclasses.replace(options, **changes)
    return parsed


def find_run(options: type[Any], program: str, arguments: Sequence[str]) -> str:
    """The run that a command line names, wherever it stands, before its options can be read; empty: none.

    Args:
        options: All options of the command, whose values are taken for what they are.
    """
    fields: list[tuple[str, Any, Any]] = [("run", tyro.conf.Positional[str], "")]
    for name, option in _named_options(options):
        kind: tuple[Any, Any] = (bool, False) if option.type is bool else (str | None, None)
        if _is_list(option.type):
            kind = (tuple[str, ...], ())
        fields.append((name.removeprefix("--").replace("-", "_"), *kind))
    others = [word for word in arguments if word not in _HELP]
    try:
        # With both flags of a pair: which of them there is depends on the run.
        words, _ = _split(dataclasses.make_dataclass("Words", fields)(), program, others, pairs=True)
    except SystemExit:
        return ""
    return expand_home(words.run) if words.run else ""


def _split(
    defaults: Any, program: str, arguments: Sequence[str], wants_help: bool = False, pairs: bool = False
) -> tuple[Any, list[str]]:
    """What ``tyro`` makes of a command line, and the words that it does not know."""
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_value_rule)
    # Its overloads distinguish calls by literals.
    cli: Any = tyro.cli
    options, others = cli(
        type(defaults),
        default=defaults,
        prog=program,
        args=arguments,
        registry=registry,
        add_help=wants_help,
        console_outputs=wants_help,
        return_unknown_args=True,
        config=() if pairs else (tyro.conf.FlagCreatePairsOff,),
    )
    return options, others


def _named_options(options: Any) -> Iterator[tuple[str, Option]]:
    for name, option in options_of(options).items():
        if dataclasses.is_dataclass(option.type):
            yield from _named_options(option.type)
        elif name not in _ARGUMENTS:
            yield option_name(name), option


def _is_list(expected: Any) -> bool:
    return typing.get_origin(expected) is tuple


def _check_values_are_there(known: dict[str, Option], arguments: Sequence[str]) -> None:
    """Refuse an option without the value that it needs; -inf is no option, nor is -1."""
    words = list(itertools.takewhile(lambda word: word != "--", arguments))  # the others are no options
    for word, following in itertools.pairwise([*words, "--"]):
        option = known.get(word.replace("_", "-"))
        if option is None or option.type is bool or _is_list(option.type):
            continue
        if re.match(r"--\Z|-+[^\W\d_]", following) and not isinstance(read_word(following, float), float):
            raise ConfigError(f"{word} needs a value", f"It takes {describe_type(option.type)}.")


def _value_rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """How values are written and shown: lists word by word, objects as JSON, None as ``none``."""
    expected: Any = info.type
    if typing.get_origin(expected) not in _ORIGINS and expected not in (int, float, str, type(None)):
        return None  # a flag, a group of options, or what tyro asks for beside types
    if not _is_list(expected):
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=_metavar(expected),
            instance_from_str=lambda words: read_word(words[0], expected),
            is_instance=lambda value: is_a(value, expected),
            str_from_instance=lambda value: [_written(value)],
        )
    item = typing.get_args(expected)[0]
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{_metavar(item)} [{_metavar(item)} ...]]",
        instance_from_str=lambda words: tuple(read_word(word, item) for word in words),
        is_instance=lambda value: is_a(value, expected),
        str_from_instance=lambda value: [*map(_written, value)],
    )


def _metavar(expected: Any) -> str:
    arguments = [one for one in typing.get_args(expected) if typing.get_origin(one) is not Callable]
    if typing.get_origin(expected) is dict:
        return "JSON"
    if typing.get_origin(expected) is Literal:
        return "{" + ",".join(arguments) + "}"
    if arguments:  # alternatives, none first
        return "|".join(map(_metavar, sorted(arguments, key=lambda kind: kind is not type(None))))
    return "none" if expected is type(None) else expected.__name__.upper()


def _written(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(in_json(value))
    return "none" if value is None else str(value)


def _unknown(token: str, known: list[str]) -> ConfigError:
    if not token.startswith("-"):
        return ConfigError(f"unexpected argument {token!r}", "Options are written --name value.")
    option = token.split("=")[0]
    likely = likely_option(option, known)
    hint = f"Did you mean {likely}?" if likely else "--help lists the options."
    return ConfigError(f"there is no option {option}", hint)
