"""Every random number of a run, as a pure function of (run seed, stream, episode, step).

The generator is Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011). It has no state, so none has to be saved, sent to a runner or restored, and an episode
plays the same wherever and whenever it is played.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

MAX_SEED = 2**64 - 1
MAX_EPISODE = 2**56 - 1


class Stream(IntEnum):
    """What a random number is for; numbers of different streams never meet."""

    ENVIRONMENT_SEED = 0
    ACTION = 1
    EVALUATION_SEED = 2
    EVALUATION_ACTION = 3
    INITIAL_WEIGHTS = 4
    MINIBATCH_ORDER = 5
    AUDIT = 6
    GLOBALS = 7
    EVALUATION_GLOBALS = 8
    PERIODIC_SEED = 9
    PERIODIC_ACTION = 10
    PERIODIC_GLOBALS = 11


def philox4x32(counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], seed: int) -> NDArray[np.uint32]:
    """Philox4x32-10 (Salmon et al. 2011, section 4.3).

    From four counter words below 2**32, arrays broadcast to shape S, and the key, below 2**64, whose low half
    is the first key word: uint32[S, 4].
    """
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in np.broadcast_arrays(*counter))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product0, product1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(
    seed: int, stream: Stream, episodes: ArrayLike, start: int, count: int, dimension: int = 0
) -> NDArray[np.uint32]:
    """Random words of steps ``start`` to ``start + count - 1`` of each episode.

    ``word(episode, t, j)`` is word ``t mod 4`` of Philox at the counter ``(t div 4, j, low half of the
    episode number, stream * 2**24 + its high half)``.

    Args:
        episodes: Episode numbers, int64[E], from 0 to ``MAX_EPISODE``.
        start: First step; a multiple of 4.
        dimension: The action's dimension j.

    Returns:
        uint32[E, count].
    """
    episode = np.asarray(episodes, np.uint64).reshape(-1, 1)
    blocks = np.arange(start // 4, (start + count + 3) // 4, dtype=np.uint64)
    high = (episode >> _SHIFT) + np.uint64(int(stream) << 24)
    random = philox4x32((blocks, np.uint64(dimension), episode & _LOW, high), seed)
    return random.reshape(len(episode), -1)[:, :count]


def uniform(random_words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Numbers in [0, 1) with 24 random bits: exact in float32, so never rounded up to 1."""
    numbers: NDArray[np.float32] = (random_words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return numbers


def environment_seed(seed: int, episode: int, stream: Stream = Stream.ENVIRONMENT_SEED) -> int:
    """The seed given to ``env.reset`` at the start of an episode, from 0 to 2**31 - 1."""
    return int(words(seed, stream, [episode], 0, 1)[0, 0]) >> 1
