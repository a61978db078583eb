"""The random numbers of :mod:`distpg.core.seeding`, compiled."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from functools import partial

import numpy as np

from distpg.kernels.compile_cache import njit

u64 = np.uint64


@partial(njit, inline="always")
def philox_words(c0, c1, c2, c3, seed):
    """Philox4x32-10 as :func:`distpg.core.seeding.philox4x32`: four words below 2**32, uint64."""
    low, shift = u64(0xFFFFFFFF), u64(32)
    k0, k1 = seed & low, seed >> shift
    for _ in range(10):
        product0 = c0 * u64(0xD2511F53)
        product1 = c2 * u64(0xCD9E8D57)
        c0 = (product1 >> shift) ^ c1 ^ k0
        c2 = (product0 >> shift) ^ c3 ^ k1
        c1 = product1 & low
        c3 = product0 & low
        k0 = (k0 + u64(0x9E3779B9)) & low
        k1 = (k1 + u64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@njit
def philox(c0, c1, c2, c3, seed, words):
    """:func:`philox_words` into uint32[4]."""
    words[0], words[1], words[2], words[3] = philox_words(c0, c1, c2, c3, seed)


@njit
def reset_seeds(seed, stream, first, words, seeds):
    """As :func:`distpg.core.seeding.environment_seed`, which takes as long as a third of a short episode.

    Args:
        words: uint32[4], room; seeds: int64[E], the result.
    """
    for k in range(len(seeds)):
        episode = first + u64(k)
        high = (stream << u64(24)) + (episode >> u64(32))
        philox(u64(0), u64(0), episode & u64(0xFFFFFFFF), high, seed, words)
        seeds[k] = words[0] >> np.uint32(1)
