"""The first look at an environment: made once, and its first steps held against what Gymnasium asks for.

What it gives later is not looked at again, since that would cost time in each step: a text that is a number,
or a flag that is a list, counts there as Python takes it.
"""

import contextlib
import faulthandler
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.environments.envs import (
    EnvInfo,
    Origin,
    close_env,
    info_of,
    make_env,
    origin_of,
    without_wrappers,
)
from distpg.environments.making import Env, EnvSpec
from distpg.environments.spaces import Observations, mask_source, masks_of
from distpg.environments.trace import actions_of, legal_of, reset_seed
from distpg.errors import DistpgError, EnvironmentIdError, in_words, shortened
from distpg.system.generators import generators_kept
from distpg.system.interrupts import Interrupted, Interrupts
from distpg.system.surroundings import theirs
from distpg.system.time_limit import time_limit

# At most so many steps, and no further one after so many seconds.
_STEPS = 10
_ENOUGH_S = 1.0
_OLD = "This is the API before Gymnasium 0.26: shimmy has wrappers for it, as shimmy.GymV21CompatibilityV0."


@dataclass(frozen=True)
class FirstLook:
    """What was seen of an environment as it was made and played a few steps.

    Attributes:
        make_s: Seconds that making it took.
        step_s: Seconds of the slower of its reset and its slowest step; 0 where it was not played.
        low: Least number of its observations; 0 where it was not played.
        high: Greatest one.
        action_mask: Where it says which actions are legal, as of :func:`mask_source`.
        complaint: Why it could not be closed, if so.
    """

    info: EnvInfo
    origin: Origin
    make_s: float
    step_s: float = 0.0
    low: float = 0.0
    high: float = 0.0
    action_mask: str = "none"
    complaint: str | None = None


def first_look(
    spec: EnvSpec,
    timeout_s: float,
    plays: Callable[[Origin], bool] = lambda origin: True,
    max_steps: int | None = None,
) -> FirstLook:
    """Make the environment and play the first steps of an episode, which no run has.

    An exception of its own in a step ends the look: whoever plays it next will tell.

    Args:
        timeout_s: Seconds for making it, and for playing it.
        plays: Whether it is played at all, asked once it is made.
        max_steps: At most so many steps after the reset.

    Raises:
        EnvironmentIdError: It cannot be made, has no spaces that a policy supports, takes too long, or gives
            what is no observation, reward or end of an episode.
    """
    name_crashes()
    # Interrupts: a KeyboardInterrupt of the environment's own is not the user's.
    with Interrupts(), theirs(), generators_kept():
        began = perf_counter()
        try:
            with time_limit(timeout_s):
                env = make_env(spec)
        except EnvironmentIdError:
            _check_time(spec, perf_counter() - began, timeout_s, "to be made")
            raise
        make_s = perf_counter() - began
        try:
            info = info_of(spec, env)
            origin = origin_of(env)
            played = _Played(spec, info, max_steps)
            if spec.action_mask == "auto" and info.actions.is_categorical:
                played.action_mask = mask_source(env.observation_space, {})
            if plays(origin):
                played.play(env, timeout_s)
        finally:
            complaint = close_env(env)
    return FirstLook(info, origin, make_s, played.step_s, *played.range, played.action_mask, complaint)


def name_crashes() -> None:
    """From now on a crash of native code names the Python lines at which it came, on standard error."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            faulthandler.enable(2)


def _check_time(spec: EnvSpec, took_s: float, timeout_s: float, what: str) -> None:
    if took_s >= timeout_s:
        raise EnvironmentIdError(
            f"{spec.env_id} takes more than {timeout_s:g} s {what}",
            "If it is slow and does not hang, give it longer: --env-start-timeout-s.",
        )


class _Played:
    """The course of the look: seconds of its slowest call, and the range of the observations."""

    def __init__(self, spec: EnvSpec, info: EnvInfo, max_steps: int | None) -> None:
        self._spec = spec
        self._max_steps = _STEPS if max_steps is None else max_steps
        self._info = info
        self.action_mask = "none" if spec.action_mask == "auto" else spec.action_mask
        self.step_s = 0.0
        self.range = (0.0, 0.0)
        self._seen: list[float] = []

    def play(self, env: Env, timeout_s: float) -> None:
        """Play the first steps; raises EnvironmentIdError at the first that is not as it should be."""
        actions = actions_of(env, 0, _STEPS)
        env, limit = without_wrappers(env)  # as the sampler plays it
        began = perf_counter()
        try:
            with time_limit(timeout_s), np.errstate(over="ignore", invalid="ignore"):
                self._play(env, actions[: min(limit or _STEPS, self._max_steps)])
        except (Interrupted, DistpgError):
            raise
        except BaseException as error:
            self._check_arguments_of_reset(error)
        _check_time(self._spec, perf_counter() - began, timeout_s, "for its first steps")

    def _play(self, env: Env, actions: list[Any]) -> None:
        env_id, kept, began = self._spec.env_id, self._info.observations, perf_counter()
        result = self._timed(env.reset, seed=reset_seed(0), options=None)
        self._see(observation_of_reset(env_id, result, kept))
        observation, told = result[0], dict(*result[1:])
        self.action_mask = self._mask_source(env, observation, told)
        legal = legal_of(env, told)
        for action in actions:
            if legal is not None:
                action = legal(action, observation, told)
            result = self._timed(env.step, action)
            seen, ended = parts_of_step(env_id, result, kept)
            self._see(seen)
            if ended or perf_counter() - began > _ENOUGH_S:
                return
            observation, told = result[0], result[4]

    def _mask_source(self, env: Env, observation: Any, told: dict[str, Any]) -> str:
        """Where masks are (EnvironmentIdError: they are not what they should be, or not there)."""
        asked, actions = self._spec.action_mask, self._info.actions
        if asked == "none" or (asked == "auto" and not actions.is_categorical):
            return "none"
        source = mask_source(env.observation_space, told) if asked == "auto" else asked
        if (mask_of := masks_of(source, actions.sizes)) is None:
            return "none"
        try:
            mask_of(observation if isinstance(observation, dict) else {}, told)
        except (LookupError, ValueError, TypeError) as error:
            if "leaves no legal action" in str(error):
                return source  # an episode of its own will tell
            raise EnvironmentIdError(
                f"{self._spec.env_id}: {error.args[0] if error.args else error}",
                f"A mask has a number for each of {sum(actions.sizes)} categories; or --action-mask none."
                if actions.is_categorical
                else "Actions are numbers, which have no masks: --action-mask none.",
            ) from error
        return source

    def _timed(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        result = call(*args, **kwargs)
        self.step_s = max(self.step_s, perf_counter() - began)
        return result

    def _see(self, observation: NDArray[np.float32]) -> None:
        finite = observation[np.isfinite(observation)]
        self._seen += [float(finite.min()), float(finite.max())] if finite.size else []
        self.range = min(self._seen, default=0.0), max(self._seen, default=0.0)

    def _check_arguments_of_reset(self, error: BaseException) -> None:
        for name, advice in (("options", ""), ("seed", f" {_OLD}")):
            if isinstance(error, TypeError) and f"unexpected keyword argument '{name}'" in in_words(error):
                cure = (
                    "Write def reset(self, *, seed=None, options=None), with super().reset(seed=seed) in it."
                )
                raise refused(self._spec.env_id, f"its reset takes no {name}", cure + advice) from error


def refused(env_id: str, what: str, cure: str) -> EnvironmentIdError:
    """The error of an environment that does not keep to the contract."""
    return EnvironmentIdError(f"{env_id} cannot be trained on: {what}", cure)


def observation_of_reset(env_id: str, result: Any, kept: Observations) -> NDArray[np.float32]:
    """The observation of what a reset gives; raises EnvironmentIdError where there is none."""
    if isinstance(result, (tuple, list)) and len(result) > 0:
        try:
            return checked_observation(env_id, result[0], kept)
        except EnvironmentIdError:
            if len(result) == 2 and isinstance(result[1], dict):
                raise
    try:
        checked_observation(env_id, result, kept)
    except EnvironmentIdError:
        if isinstance(result, (tuple, list)) and len(result) > 0:
            checked_observation(env_id, result[0], kept)  # says what is wrong with it
        what = f"its reset returns {_shown(result)}, not (observation, info)"
        raise refused(env_id, what, "Return a tuple of the observation and a dictionary.") from None
    what = "its reset returns the observation alone, not (observation, info)"
    raise refused(env_id, what, f"Return a tuple of both. {_OLD}")


def parts_of_step(env_id: str, result: Any, kept: Observations) -> tuple[NDArray[np.float32], bool]:
    """The observation of what a step gives, and whether the episode ends (EnvironmentIdError: neither)."""
    parts = tuple(result) if isinstance(result, Iterable) else ()
    if len(parts) != 5:
        has = f"{len(parts)} values" if isinstance(result, (tuple, list)) else _shown(result)
        what = f"its step returns {has}, not observation, reward, terminated, truncated, info"
        cure = f"Split done into terminated and truncated. {_OLD}" if len(parts) == 4 else "Return all five."
        raise refused(env_id, what, cure)
    observation = checked_observation(env_id, parts[0], kept)
    check_reward(env_id, parts[1])
    for name, flag in zip(("terminated", "truncated"), parts[2:4], strict=True):
        check_flag(env_id, name, flag)
    return observation, bool(parts[2]) or bool(parts[3])


def checked_observation(env_id: str, observation: Any, kept: Observations) -> NDArray[np.float32]:
    """An observation as the policy sees it (EnvironmentIdError: it is none)."""
    shape = kept.shape

    def wrong(what: str, cure: str) -> EnvironmentIdError:
        return refused(env_id, f"its observation {what}", cure)

    if kept.encode is not None:
        try:
            return kept.encode(observation).astype(np.float32)
        except Exception as error:
            what = f"does not fit its observation_space: {_shown(observation)} ({in_words(error)})"
            raise wrong(what, "Make both the same: observation_space.contains(observation) tells.") from error
    if isinstance(observation, dict):
        raise wrong("is a dictionary", "Its observation_space should be a Dict, or it an array.")
    if isinstance(observation, np.ma.MaskedArray):
        cure = "Return observation.filled(0): what is hidden would be taken for numbers."
        raise wrong("is a masked array", cure)
    try:
        array = np.asarray(observation)
        is_number = array.dtype.kind in "biuf" or (array.dtype == object and _are_numbers(array))
        if is_number and array.shape == shape:
            return array.astype(np.float32)
    except Exception as error:
        raise wrong(f"is no array: {in_words(error)}", "Return a NumPy array of numbers.") from error
    if not is_number:
        kinds = {"c": "complex numbers", "U": "text", "S": "text", "O": "objects", "M": "dates", "m": "times"}
        of = kinds.get(array.dtype.kind, f"dtype {array.dtype}")
        cure = "Return real numbers, as dtype float32."
        if array.dtype.kind == "c":
            cure = "Return real and imaginary parts as two numbers: np.stack([x.real, x.imag])."
        raise wrong(f"is of {of}: {_shown(observation)}", cure)
    raise wrong(
        f"is of shape {array.shape}, where its observation_space has {shape}",
        "Make both the same: an axis for a batch goes with observation[0].",
    )


def _are_numbers(array: NDArray[Any]) -> bool:
    return all(isinstance(one, (Real, np.bool_)) for one in array.flat)


def check_reward(env_id: str, reward: Any) -> None:
    """Whether it is a number (EnvironmentIdError: it is none)."""

    def wrong(what: str, cure: str) -> EnvironmentIdError:
        return refused(env_id, f"its reward {what}", cure)

    kind = np.asarray(reward).dtype.kind if isinstance(reward, (np.ndarray, np.generic)) else ""
    if isinstance(reward, (str, bytes)) or kind in ("U", "S"):
        raise wrong(f"is text: {_shown(reward)}", "Return a number: float(reward).")
    if isinstance(reward, complex) or kind == "c":
        raise wrong(f"is complex: {_shown(reward)}", "Return a real number, such as reward.real.")
    if reward is None:
        raise wrong("is None", "Return a number from each step: 0.0 where there is none.")
    is_array = isinstance(reward, (np.ndarray, list, tuple))
    try:
        shape = tuple(np.shape(reward) if is_array else getattr(reward, "shape", ()))
        if is_array and shape and math.prod(shape) == 1:
            cure = "Return the number in it: float(reward[0])."
            raise wrong(f"is an array of shape {shape}", cure)
        if math.prod(shape) != 1:
            cure = (
                "Learn one number: a scalarising wrapper (gymnasium.RewardWrapper), such as a weighted sum."
            )
            raise wrong(f"is an array of shape {shape}", cure)
        float(reward)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise wrong(f"is no number: {_shown(reward)}", "Return a number: float(reward).") from error


def check_flag(env_id: str, name: str, flag: Any) -> None:
    """Whether it is true or false, or 0 or 1 (EnvironmentIdError: it is neither)."""
    is_wrong = isinstance(flag, (str, bytes, list, tuple, dict, set))
    try:
        if isinstance(flag, (np.ndarray, np.generic)):
            is_wrong = flag.size != 1 or flag.dtype.kind not in "biuf" or flag.item() not in (0, 1)
        elif isinstance(flag, (int, float)):
            is_wrong = flag not in (0, 1)
        bool(flag)
    except Exception:
        is_wrong = True
    if is_wrong:
        cure = "Return bool: Python takes every text and every list that is not empty for true."
        raise refused(env_id, f"{name} is {_shown(flag)}, neither True nor False", cure)


def _shown(value: Any) -> str:
    """A value in a few characters."""
    try:
        return shortened(" ".join(repr(value).split()), 80)
    except Exception:
        return f"something of type {type(value).__name__}"
