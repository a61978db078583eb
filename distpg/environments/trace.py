"""What an environment does under fixed actions, as digests; :func:`main` is a child process's program."""

import base64
import contextlib
import copy
import hashlib
import itertools
import json
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from distpg.core.seeding import Stream, environment_seed, uniform, words
from distpg.environments.envs import close_env, make_env
from distpg.environments.making import Env, EnvSpec
from distpg.environments.spaces import actions_of as choices_of
from distpg.environments.spaces import mask_source, masks_of
from distpg.errors import DistpgError, EnvironmentIdError
from distpg.system.interrupts import Interrupted

MAX_STEPS = 200
NUM_EPISODES = 8
# No run's seed: runs start from 0, and users seldom pick this one.
_SEED = 0x7472616365
# Plays of the shortest schedule: episode 0 three times, episode 1 twice.
_FEWEST_PLAYS = 5
# An environment that is made and has played a little after more seconds than this is spared the rest. It
# plays a few steps even so.
_DEAR_S = 3.0
_FEW_STEPS = 3
_CLOCKS = ("time", "monotonic", "perf_counter", "process_time")


Plays = dict[str, list[str]]


@dataclass(frozen=True)
class Traces:
    """Plays of the same episodes, by episode number: digests after the reset and after each step."""

    first: Plays
    """In a new environment."""
    used: Plays
    """In an environment that has played others."""
    again: Plays
    """In a new environment, after others of the process have played."""


def reset_seed(number: int) -> int:
    """The seed of a trace's episode."""
    return environment_seed(_SEED, number)


def actions_of(env: Env, number: int, count: int) -> list[Any]:
    """The fixed pseudo-random actions of a trace's episode."""
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        numbers = uniform(words(_SEED, Stream.ACTION, [number], 0, count))[0]
        start, size = int(env.action_space.start), float(env.action_space.n)
        return [start + int(u * size) for u in numbers.tolist()]
    # A copy: the environment may sample from its own, which nobody seeds in a run.
    space = copy.deepcopy(env.action_space)
    space.seed(reset_seed(number))
    return [space.sample() for _ in range(count)]


def legal_of(env: Env, info: Any) -> Callable[[Any, Any, Any], Any] | None:
    """From an action, an observation and its info to that action, or another where a mask forbids it.

    Args:
        info: A reset's. None: the environment tells by no mask what is legal.
    """
    try:
        actions = choices_of("", env.action_space)
    except EnvironmentIdError:
        return None
    if not actions.is_categorical:
        return None
    mask_of = masks_of(mask_source(env.observation_space, info), actions.sizes)
    if mask_of is None:
        return None
    start = np.ravel(getattr(env.action_space, "start", 0)).astype(np.int64)
    ends = np.cumsum(actions.sizes)[:-1]

    def legal(action: Any, observation: Any, info: Any) -> Any:
        wanted = np.ravel(action).astype(np.int64) - start
        masks = np.split(mask_of(observation, info), ends)
        chosen = [
            choice if mask[choice] else np.flatnonzero(mask)[choice % mask.sum()]
            for mask, choice in zip(masks, wanted, strict=True)
        ]
        return actions.decode(np.array([chosen]))[0]

    return legal


def play(
    env: Env,
    number: int,
    digest: Any = None,
    max_steps: int = MAX_STEPS,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """One episode of the trace, cut after ``max_steps`` steps, or after the step at which ``stop`` says so.

    Args:
        digest: SHA-256 to go on with; default: a new one.

    Returns:
        The digest, 16 hex digits, of all so far: after the reset and after each step. An exception ends the
        episode, as the last thing in the digest.
    """
    digest = digest or hashlib.sha256()
    digests: list[str] = []
    try:
        observation, info = env.reset(seed=reset_seed(number))
        _feed(digest, observation)
        digests.append(digest.hexdigest()[:16])
        legal = legal_of(env, info)
        for action in actions_of(env, number, max_steps):
            if legal is not None:
                action = legal(action, observation, info)
            observation, reward, terminated, truncated, info = env.step(action)
            _feed(digest, observation)
            digest.update(np.float64(reward).tobytes() + bytes([bool(terminated), bool(truncated)]))
            digests.append(digest.hexdigest()[:16])
            if terminated or truncated or stop():
                break
    except Interrupted:
        raise
    except BaseException as error:  # whatever the environment raises; its text may hold memory addresses
        digest.update(type(error).__qualname__.encode())
        digests.append(digest.hexdigest()[:16])
    return digests


def _feed(digest: Any, observation: Any) -> None:
    if isinstance(observation, dict):
        for key in sorted(observation):
            digest.update(str(key).encode())
            _feed(digest, observation[key])
    elif isinstance(observation, (tuple, list)):
        for part in observation:
            _feed(digest, part)
    else:
        array: NDArray[Any] = np.asarray(observation)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(repr(observation).encode() if array.dtype == object else array.tobytes())


def traces(spec: EnvSpec, budget_s: float, prepare: Callable[[], None] = lambda: None) -> Traces:
    """Play episodes 0, 1, … in new and in used environments, at least two, until the time is up.

    One that takes long to make or to step is made once, and plays the beginning of episode 0 twice.

    Args:
        budget_s: Seconds; the constructor and one step of each of five plays may take longer.
        prepare: Called before each environment is made and before each play.

    Raises:
        EnvironmentIdError: The environment cannot be made.
    """
    started = perf_counter()
    closes = True

    def played(env: Env, number: int, fewest: int = 1) -> list[str]:
        prepare()
        begun, steps = perf_counter(), itertools.count(1)
        return play(
            env,
            number,
            stop=lambda: next(steps) >= fewest and perf_counter() - begun > budget_s / _FEWEST_PLAYS,
        )

    @contextlib.contextmanager
    def new() -> Iterator[Env]:
        nonlocal closes
        prepare()
        env = make_env(spec)
        try:
            yield env
        finally:
            # One that hangs as it is closed does so each time.
            closes = closes and close_env(env) is None

    def played_anew(number: int) -> list[str]:
        with new() as env:
            return played(env, number)

    with new() as kept:
        plays = Traces(first={"0": played(kept, 0, _FEW_STEPS)}, used={}, again={})
        if perf_counter() - started > _DEAR_S:
            plays.used["0"] = played(kept, 0, _FEW_STEPS)
            return plays
        for number in range(1, NUM_EPISODES):
            plays.used[str(number)] = played(kept, number)
            plays.first[str(number)] = played_anew(number)
            if number == 1:
                plays.used["0"] = played(kept, 0)
                plays.again["0"] = played_anew(0)
            if perf_counter() - started > budget_s:
                break
    return plays


def differs(one: Plays, other: Plays) -> bool:
    """Whether two plays of the same episodes differ, as far as both went."""
    return any(
        one[number][: len(digests)] != digests[: len(one[number])]
        for number, digests in other.items()
        if number in one
    )


def pretend(
    global_seeds: tuple[int, int] | None = None, clock_shift: float = 0.0, clock_tick: float | None = None
) -> Callable[[], None]:
    """Change what an environment might take notice of in this process; what is returned does so anew.

    Args:
        global_seeds: Of Python's and of NumPy's global generator; None: they are left as they are.
        clock_shift: Seconds that Python's clocks are ahead.
        clock_tick: Seconds between two looks at a clock, whatever time has passed; None: the real ones.
    """
    looks = 0

    def shifted(real: Callable[[], float]) -> Callable[[], float]:
        def now() -> float:
            nonlocal looks
            looks += 1
            return clock_shift + (real() if clock_tick is None else looks * clock_tick)

        return now

    for name in _CLOCKS if clock_shift else ():
        clock = shifted(getattr(time, name))
        setattr(time, name, clock)
        setattr(time, f"{name}_ns", lambda clock=clock: int(clock() * 1e9))

    def renew() -> None:
        nonlocal looks
        looks = 0
        if global_seeds is not None:
            random.seed(global_seeds[0])
            np.random.seed(global_seeds[1])

    return renew


def main() -> None:
    """Answer the request on standard input, both in JSON: ``{"env", "budget_s", "circumstances"}``.

    Instead of ``env`` it may have ``pickled_env``: this is a child of the program that it is of.
    """
    wanted = json.load(sys.stdin)
    # Environments print; what they print must not get into the answer.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    try:
        if "pickled_env" in wanted:
            spec = pickle.loads(base64.b64decode(wanted["pickled_env"]))
        else:
            spec = EnvSpec(**wanted["env"])
        answer = asdict(traces(spec, wanted["budget_s"], pretend(**wanted["circumstances"])))
    except DistpgError as error:
        answer = {"error": error.message}
    with os.fdopen(answer_to, "w", encoding="utf-8") as file:
        file.write(json.dumps(answer) + "\n")
