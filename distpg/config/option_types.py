"""What an option may hold, in the terms of its annotation, how it is read, and how users are told.

An option is a field of a dataclass. Its annotation is its type, or ``Annotated[type, ...]`` with a
:class:`Range` for numbers, and with ``FREE`` or ``LIMIT`` where resume may change it.
"""

import functools
import json
import math
import os
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from typing import Any, Literal

from distpg.errors import ConfigError

_MAX_DEPTH = 100  # deeper than any environment's arguments; structures that contain themselves end here
_MAX_SHOWN = 200  # characters of a wrong value that are repeated to the user
OPTIONS_HELP = "distpg train --help lists every option with its default."


def option_name(name: str) -> str:
    """The command-line spelling of a field: ``env_id`` to ``--env-id``."""
    return "--" + name.replace("_", "-")


# What other programs of this field call an option.
_SYNONYMS = {
    "lr": ("learning_rate", "alpha", "step_size"),
    "gamma": ("discount", "discount_factor"),
    "entropy_coef": ("ent_coef", "entropy_coeff", "entropy_bonus"),
    "optimiser": ("optimizer",),
    "normalise_advantages": ("normalize_advantages", "normalize_advantage"),
    "num_env_runners": (
        "workers",
        "num_workers",
        "num_actors",
        "num_envs",
        "n_envs",
        "num_cpus",
        "processes",
    ),
    "episodes_per_iteration": ("batch_size", "train_batch_size", "episodes_per_batch", "episodes"),
    "max_env_steps": ("steps", "max_steps", "timesteps", "total_timesteps", "num_timesteps", "num_steps"),
    "max_iterations": ("iterations", "num_iterations", "epochs", "num_epochs", "updates"),
    "max_episode_steps": ("episode_length", "max_episode_length", "horizon", "time_limit"),
    "stop_return": ("target", "target_return", "reward_threshold", "stop_reward"),
    "hidden_sizes": ("layers", "hidden_layers", "net_arch", "hidden_size", "fcnet_hiddens"),
    "run_dir": ("output", "output_dir", "out_dir", "log_dir", "logdir", "save_dir", "results_dir"),
    "env_id": ("env", "env_name", "environment", "game", "task"),
    "learner_threads": ("threads", "num_threads"),
}


def likely_option(name: str, known: Sequence[str]) -> str | None:
    """The option that somebody means who writes ``name``, by custom or by mistake; None: nobody knows.

    Spelt as those of ``known``, which may be fields or as on the command line.
    """
    plain = {option.removeprefix("--").replace("-", "_"): option for option in known}
    customary = {
        word: plain[option] for option, words in _SYNONYMS.items() if option in plain for word in words
    }
    word = name.lstrip("-").replace("-", "_")
    if word in customary:
        return customary[word]
    close = get_close_matches(name, known, n=1)
    return close[0] if close else next((customary[w] for w in get_close_matches(word, customary, n=1)), None)


def expand_home(path: str) -> str:
    """A path with its leading ``~`` or ``~user`` replaced, which no shell did that saw it in quotes."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where there is no such user


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` (or ``above`` it) to ``high``; None: without that bound."""

    low: float | None
    high: float | None = None
    above: bool = False

    def __contains__(self, value: float) -> bool:
        is_low = self.low is not None and (value <= self.low if self.above else value < self.low)
        return not is_low and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.above:
            return f"above {self.low}" + ("" if self.high is None else f" and at most {self.high}")
        return f"at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"


class OnResume(Enum):
    """Whether an option may be another when a run is resumed."""

    FIXED = "no: it decides the result"
    FREE = "yes: it cannot change the result"
    LIMIT = "to a higher one: it says how far a run goes, and the iterations so far stay as they are"


FREE, LIMIT = OnResume.FREE, OnResume.LIMIT


@dataclass(frozen=True)
class Option:
    """What a field's annotation says; ``type`` is without its ``Annotated``."""

    type: Any
    range: Range | None
    on_resume: OnResume


@functools.cache
def options_of(cls: type[Any]) -> dict[str, Option]:
    """The options that are fields of a dataclass, by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for name in (field.name for field in fields(cls)):
        hint, marks = hints[name], getattr(hints[name], "__metadata__", ())
        found[name] = Option(
            typing.get_args(hint)[0] if marks else hint,
            next((mark for mark in marks if isinstance(mark, Range)), None),
            next((mark for mark in marks if isinstance(mark, OnResume)), OnResume.FIXED),
        )
    return found


def read_word(word: str, expected: Any) -> Any:
    """A word of the command line as a value of a type; itself if it is none, for check_option to refuse."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and word.lower() == "none":
            return None
        for argument in arguments:
            if is_a(value := read_word(word, argument), argument):
                return value
        return word
    try:
        if origin is dict:
            value = json.loads(word)
            json.dumps(value, allow_nan=False)  # ValueError: NaN, or 1e400, which Python reads as infinite
            return value
        return expected(word) if expected in (int, float) else word
    except (ValueError, RecursionError):  # RecursionError: JSON that is nested too deeply
        return word


def check_option(name: str, value: object, option: Option, hint: str = OPTIONS_HELP) -> None:
    """Whether an option's value is of its type, and its numbers in their range (ConfigError: it is not)."""
    if not is_a(value, option.type):
        shown = repr(list(value) if isinstance(value, tuple) else value)
        shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
        raise ConfigError(f"{option_name(name)} cannot be {shown}", f"It takes {describe_type(option.type)}.")
    for number in value if isinstance(value, (tuple, list)) else (value,):
        if option.range is not None and isinstance(number, (int, float)) and number not in option.range:
            raise ConfigError(f"{option_name(name)} must be {option.range}, not {number}", hint)


def is_a(value: object, expected: Any) -> bool:
    """Whether a value is of a type: finite if a number, one line if a text, of texts if a dict."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return any(is_a(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, (tuple, list)) and all(is_a(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and _has_names(value)
    if origin is Callable:
        return callable(value)
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


def _has_names(value: object, depth: int = 0) -> bool:
    """Whether all keys are texts, to any depth, and no structure contains itself."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_names(item, depth + 1) for key, item in value.items())
    return not isinstance(value, (list, tuple)) or all(_has_names(item, depth + 1) for item in value)


def describe_type(expected: Any) -> str:
    """What a user may write for an option of this type, in words."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(arguments)
    if origin is Callable:
        return "a class or function"
    if origin is tuple:
        return "a list of " + ("whole numbers" if arguments[0] is int else describe_type(arguments[0]))
    if origin is dict:
        return "a JSON object, in a shell '{\"name\": 1}'"
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return names.get(expected, "none")
