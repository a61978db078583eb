"""Spaces: how an environment's observations become one array, and a policy's choices its actions."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from distpg.errors import EnvironmentIdError, shortened

# Numbers of an observation, 64 MiB as float32; and categories of all parts of an action.
MAX_OBSERVATION_SIZE = 2**24
MAX_ACTIONS = 2**20
# Kinds of NumPy's dtypes: bool, integers and floats.
_REAL = "biuf"

Space = spaces.Space[Any]


@dataclass(frozen=True)
class Observations:
    """How observations are kept.

    Attributes:
        shape: Of what ``encode`` gives, or of the observation itself.
        dtype: uint8 where no observation has another number than 0 to 255 in whole, else float32.
        encode: From an observation to an array of that shape; None: it is one already, of any real dtype.
            Raises ValueError, TypeError, LookupError where it is none of its space.
        low, high: Bounds of all its numbers; infinite where there are none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encode: Callable[[Any], NDArray[Any]] | None
    low: float
    high: float

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Actions:
    """What a policy chooses, and how the environment takes it.

    Attributes:
        sizes: Categories of each part; a 1 for each of the numbers where they are no categories.
        decode: From choices [lanes, parts], categories from 0 or numbers for bounds of -1 and 1, to as many
            actions.
    """

    sizes: tuple[int, ...]
    is_categorical: bool
    decode: Callable[[NDArray[Any]], list[Any]]


def observations_of(env_id: str, space: Space, dropped: Sequence[str] = ()) -> Observations:
    """How observations of this space are kept, without the parts of these names.

    Dictionaries, tuples and categories become one flat array as Gymnasium's ``flatten`` makes it, categories
    one-hot. Raises EnvironmentIdError where a part of it, or all of it, is nothing that a policy can use.
    """
    kept = _without(env_id, space, dropped)
    leaves = list(_leaves(kept, ""))
    size = sum(spaces.flatdim(leaf) for _, leaf in leaves if not _problem(leaf))
    for name, leaf in leaves:
        if (problem := _problem(leaf)) is not None:
            cure = f"Leave that part out: --drop-observations {name}." if name else "No policy here takes it."
            what = shortened(f"{env_id} has {problem}{f' as {name!r}' if name else ''} in its observations")
            raise EnvironmentIdError(what, cure)
    if not 0 < size <= MAX_OBSERVATION_SIZE:
        raise EnvironmentIdError(
            shortened(f"{env_id} has observations {space}"),
            f"They must be real numbers, 1 to {MAX_OBSERVATION_SIZE:,} of them.",
        )
    is_small = all(_is_small(leaf) for _, leaf in leaves)
    dtype = np.dtype(np.uint8 if is_small else np.float32)
    bounds = [_bounds(leaf) for _, leaf in leaves]
    low, high = min(one[0] for one in bounds), max(one[1] for one in bounds)
    if isinstance(kept, spaces.Box):
        encode = _whole_numbers if is_small else None
        return Observations(kept.shape, dtype, encode, low, high)
    part = _part(space, kept)

    def flat(observation: Any) -> NDArray[Any]:
        seen = part(observation)
        _check_parts(kept, seen)
        found = spaces.flatten(kept, seen)
        assert isinstance(found, np.ndarray)
        return _whole_numbers(found) if is_small else found

    return Observations((size,), dtype, flat, low, high)


def _without(env_id: str, space: Space, dropped: Sequence[str]) -> Space:
    if not dropped:
        return space
    names = list(space) if isinstance(space, spaces.Dict) else []
    if unknown := [name for name in dropped if name not in names]:
        raise EnvironmentIdError(
            f"--drop-observations: observations of {env_id} have no part {unknown[0]!r}",
            f"Their parts are {', '.join(map(str, names))}." if names else "They have no parts.",
        )
    kept = {name: part for name, part in space.items() if name not in dropped}  # type: ignore[attr-defined]
    if not kept:
        raise EnvironmentIdError(
            f"--drop-observations leaves nothing of the observations of {env_id}", "Name fewer parts."
        )
    return spaces.Dict(kept)


def _check_parts(space: Space, value: Any) -> None:
    """Raise ValueError where Gymnasium's ``flatten`` would take a value for another one in silence."""
    if isinstance(space, spaces.Dict):
        for name, part in space.items():
            _check_parts(part, value[name])
    elif isinstance(space, spaces.Tuple):
        for part, item in zip(space, value, strict=True):
            _check_parts(part, item)
    elif isinstance(space, spaces.Discrete):
        if not 0 <= int(value) - int(space.start) < int(space.n):
            raise ValueError(f"an observation outside of its space: {value!r} is not in {space}")
    elif isinstance(space, spaces.MultiDiscrete):
        array = np.asarray(value)
        if (
            array.shape != space.shape
            or not ((array >= space.start) & (array < space.start + space.nvec)).all()
        ):
            raise ValueError(f"an observation outside of its space: {value!r} is not in {space}")
    elif space.dtype is not None and space.dtype.kind in "iub":
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.array_equal(array.astype(space.dtype), array):
            raise ValueError(f"an observation outside of its space: {value!r} is not in {space}")


def _part(space: Space, kept: Space) -> Callable[[Any], Any]:
    """From an observation to what is kept of it."""
    if space is kept or not isinstance(kept, spaces.Dict):
        return lambda observation: observation
    names = list(kept)
    return lambda observation: {name: observation[name] for name in names}


def _leaves(space: Space, name: str) -> Iterator[tuple[str, Space]]:
    """The parts that have no parts, with the names of the outermost ones that they are of."""
    if isinstance(space, spaces.Dict):
        for key, part in space.items():
            yield from _leaves(part, name or str(key))
    elif isinstance(space, spaces.Tuple):
        for part in space:
            yield from _leaves(part, name)
    else:
        yield name, space


def _problem(space: Space) -> str | None:
    """Why a policy cannot use it; None: it can."""
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return None
    if not isinstance(space, spaces.Box):
        return f"a {type(space).__name__}"
    if space.dtype is None or space.dtype.kind not in _REAL:
        return f"a Box of dtype {space.dtype}"
    return None


def _is_small(space: Space) -> bool:
    return not isinstance(space, spaces.Box) or space.dtype in (np.uint8, np.bool_)


def _bounds(space: Space) -> tuple[float, float]:
    if not isinstance(space, spaces.Box):
        return 0.0, 1.0
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return float(low.min(initial=math.inf)), float(high.max(initial=-math.inf))


def _whole_numbers(observation: Any) -> NDArray[np.uint8]:
    """As uint8, bit for bit the same numbers; raises ValueError where they are not 0 to 255."""
    array = np.asarray(observation)
    if array.dtype == np.uint8:
        return array
    with np.errstate(invalid="ignore"):
        small = array.astype(np.uint8)
    if not np.array_equal(small, array):
        raise ValueError(f"an observation outside of its space: {shortened(repr(observation), 80)}")
    return small


def actions_of(env_id: str, space: Space) -> Actions:
    """What a policy for this space chooses (EnvironmentIdError: nothing that a policy here can)."""
    found = _actions_of(space)
    if found is None:
        raise EnvironmentIdError(
            shortened(f"{env_id} has actions {space}"),
            "Policies here take Discrete, MultiDiscrete, MultiBinary, and Box of floats with a dimension.",
        )
    if found.is_categorical and sum(found.sizes) > MAX_ACTIONS:
        raise EnvironmentIdError(
            f"{env_id} has {sum(found.sizes):,} actions",
            f"A policy has a weight or more for each: at most {MAX_ACTIONS:,} can be learnt.",
        )
    return found


def _actions_of(space: Space) -> Actions | None:
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        # Python's own integers, which most environments expect.
        if first == 0:
            return Actions((int(space.n),), True, lambda choices: choices[:, 0].tolist())
        return Actions(
            (int(space.n),), True, lambda choices: [first + choice for choice in choices[:, 0].tolist()]
        )
    start: NDArray[Any] = np.zeros((), np.int64)
    if isinstance(space, spaces.MultiBinary):
        sizes, shape, dtype = (2,) * math.prod(space.shape), space.shape, space.dtype
    elif isinstance(space, spaces.MultiDiscrete):
        sizes, shape, dtype = tuple(map(int, space.nvec.flat)), space.shape, space.dtype
        start = space.start.ravel()
    elif (
        isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f" and space.shape
    ):
        return _numbers_of(space)
    else:
        return None
    if not sizes:
        return None
    return Actions(sizes, True, lambda choices: [row.astype(dtype).reshape(shape) for row in choices + start])


def _numbers_of(space: spaces.Box) -> Actions:
    """Choices of -1 and 1 are the bounds, where both are finite, and beyond them nothing is played."""
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    is_bounded = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore", over="ignore"):
        half = np.where(is_bounded, high / 2 - low / 2, 1.0)
        middle = np.where(is_bounded, high / 2 + low / 2, 0.0)

    def decode(choices: NDArray[Any]) -> list[Any]:
        numbers = np.clip(middle + half * choices, low, high).astype(space.dtype)
        return list(numbers.reshape(len(choices), *space.shape))

    return Actions((1,) * len(low), False, decode)


def has_finite_bounds(space: Space) -> bool:
    """Whether each number of an action has both bounds."""
    return isinstance(space, spaces.Box) and space.is_bounded("both")


MaskOf = Callable[[Any, dict[str, Any]], NDArray[np.bool_]]


def mask_source(observation_space: Space, info: dict[str, Any]) -> str:
    """Where an environment says which actions are legal: ``observation``, ``info`` or ``none``."""
    if isinstance(observation_space, spaces.Dict) and "action_mask" in observation_space.spaces:
        return "observation"
    return "info" if isinstance(info, dict) and "action_mask" in info else "none"


def masks_of(source: str, sizes: Sequence[int]) -> MaskOf | None:
    """From an observation and the info beside it to the legal categories, bool[all categories].

    None where all are legal. What it gives raises ValueError where a part has no legal category, LookupError
    where there is no mask.
    """
    if source not in ("info", "observation"):
        return None
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def mask_of(observation: Any, info: dict[str, Any]) -> NDArray[np.bool_]:
        told = info if source == "info" else observation
        if "action_mask" not in told:
            raise LookupError(f"its {source} has no action_mask")
        mask = flat_mask(told["action_mask"])
        if mask.shape != (sum(sizes),):
            raise ValueError(f"its action_mask has shape {mask.shape}, not {(sum(sizes),)}")
        if not np.logical_or.reduceat(mask, starts).all():
            raise ValueError("its action_mask leaves no legal action")
        return mask

    return mask_of


def flat_mask(mask: Any) -> NDArray[np.bool_]:
    """A mask of one part of an action, or a tuple of such, as bool[all categories]."""
    parts = mask if isinstance(mask, tuple) else (mask,)
    return np.concatenate([np.asarray(part).astype(np.bool_).ravel() for part in parts])


def dropped_with_masks(dropped: Sequence[str], source: str) -> tuple[str, ...]:
    """Names of the observation's parts that the policy does not see."""
    return (*dropped, "action_mask") if source == "observation" else tuple(dropped)


def make_space(env: gymnasium.Env[Any, Any], name: str) -> Space | None:
    """A space of the environment; None where a wrapper that is asked for it raises."""
    with contextlib.suppress(Exception):
        found: Space = getattr(env, name)
        return found
    return None
