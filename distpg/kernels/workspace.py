"""The arrays that a rollout works on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Policy(NamedTuple):
    """Weights, and room for a pass.

    Attributes:
        parameters: float32, of each layer its weights as (units, inputs), then its biases.
        sizes: int64, widths from features to actions.
        last: float32[units + 1] of two actions behind one hidden layer, see :func:`lanes.difference`; else of
            length 0.
        columns: A tuple as long as there are features, where ``last`` is not empty.
        products: int64[columns, 2], as of :func:`distpg.core.policies.flat_products`.
        mean, scale: float32[observation size], or of length 0 where observations are taken as they are.
        hidden: float32[2, widest layer, lanes], room.
    """

    parameters: NDArray[np.float32]
    sizes: NDArray[np.int64]
    last: NDArray[np.float32]
    columns: tuple[int, ...]
    products: NDArray[np.int64]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden: NDArray[np.float32]


class Lanes(NamedTuple):
    """What each lane plays: arrays whose last dimension is the lane.

    Attributes:
        state: float64[numbers, lanes], the environment's.
        outputs: float32[actions, lanes].
        actions: int64.
        rewards: float64.
        terminated: bool.
        total: float64, the sum of the episode's rewards so far.
        words: uint32[8, lanes], two blocks of random words.
        drawn: float32, room.
        episode: uint64, the number of its episode.
        row: int64, where that is in :class:`Episodes`.
        t: int64, its steps so far.
        over: int64, 1 where the episode is over.
        plays: int64, 0 where no episode is left.
    """

    state: NDArray[np.float64]
    outputs: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    total: NDArray[np.float64]
    words: NDArray[np.uint32]
    drawn: NDArray[np.float32]
    episode: NDArray[np.uint64]
    row: NDArray[np.int64]
    t: NDArray[np.int64]
    over: NDArray[np.int64]
    plays: NDArray[np.int64]


class History(NamedTuple):
    """What all lanes have played, tick after tick: [ticks, ..., lanes].

    Attributes:
        observations: float32[ticks, observation size, lanes].
        actions: uint8 or uint16.
        rewards: float32.
        log_probs: float32; of no ticks where nobody asks for them.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    log_probs: NDArray[np.float32]


class Steps(NamedTuple):
    """The same, episode after episode: [steps, ...].

    Attributes:
        observations: float32[steps, observation size].
        actions: uint8 or uint16.
        returns: float32.
        rewards, log_probs: float32; of no steps where nobody asks for them.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    returns: NDArray[np.float32]
    rewards: NDArray[np.float32]
    log_probs: NDArray[np.float32]


class Room(NamedTuple):
    """For the beginning of an episode: float64[numbers that reset takes], uint32[4], uint64[4]."""

    uniforms: NDArray[np.float64]
    word: NDArray[np.uint32]
    pcg: NDArray[np.uint64]


class Episodes(NamedTuple):
    """Of each of E episodes: where in the history its steps are, and what it came to.

    Attributes:
        lane, start, length: int64[E]; start: its first tick.
        total: float64[E], the undiscounted sum of its rewards; NaN where a state is not finite.
        terminated: bool[E].
        finals: float32[E, observation size], the last observations; of length 0 where nobody asks for them.
    """

    lane: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    total: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    finals: NDArray[np.float32]


class Numbers(NamedTuple):
    """What is played, and how: the run's seed, streams of :class:`distpg.core.seeding.Stream`, and so on."""

    seed: np.uint64
    seed_stream: np.uint64
    action_stream: np.uint64
    first_episode: np.uint64
    limit: int
    gamma: float
    is_total: bool
    is_greedy: bool
