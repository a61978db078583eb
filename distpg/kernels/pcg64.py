"""The first numbers of ``numpy.random.default_rng(seed)``, from which Gymnasium's environments draw.

Sources: O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms for random
number generation" (2014), PCG-XSL-RR-128/64; O'Neill, "Developing a seed_seq alternative" (2015), as
``numpy.random.SeedSequence`` has it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.intrinsics import high_product

u32, u64 = np.uint32, np.uint64
MULTIPLIER_HIGH, MULTIPLIER_LOW = u64(2549297995355413924), u64(4865540595714422341)


@njit
def times(a, b):
    """The lower 32 bits of a product."""
    return u32(u64(a) * u64(b))


@njit
def mixed(x, y):
    """Two words of the pool made one."""
    z = u32(times(x, u32(0xCA01F9DD)) - times(y, u32(0x4973F715)))
    return z ^ (z >> u32(16))


@njit
def seed_sequence(seed, pool, state):
    """``SeedSequence(seed).generate_state(4, uint64)`` of a seed below 2**32, with room for uint32[4]."""
    constant = u32(0x43B0D7E5)
    for k in range(4):
        z = (u32(seed) if k == 0 else u32(0)) ^ constant
        constant = times(constant, u32(0x931E8875))
        z = times(z, constant)
        pool[k] = z ^ (z >> u32(16))
    for source in range(4):
        for k in range(4):
            if source != k:
                z = pool[source] ^ constant
                constant = times(constant, u32(0x931E8875))
                z = times(z, constant)
                pool[k] = mixed(pool[k], z ^ (z >> u32(16)))
    constant = u32(0x8B51F9DD)
    for k in range(8):
        z = pool[k % 4] ^ constant
        constant = times(constant, u32(0x58F38DED))
        z = times(z, constant)
        z = u32(z ^ (z >> u32(16)))
        state[k // 2] = u64(z) if k % 2 == 0 else state[k // 2] | (u64(z) << u64(32))


@njit
def next_state(high, low, increment_high, increment_low):
    """A step of the linear congruential generator modulo 2**128."""
    new_high = high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH + high_product(low, MULTIPLIER_LOW)
    product = low * MULTIPLIER_LOW
    new_low = product + increment_low
    return new_high + increment_high + u64(new_low < product), new_low


@njit
def uniforms(seed, pool, state, numbers):
    """``default_rng(seed).random(len(numbers))``, bit for bit.

    Args:
        seed: Below 2**32.
        pool, state: uint32[4] and uint64[4], room.
        numbers: float64, from 0 to 1.
    """
    seed_sequence(seed, pool, state)
    increment_high = (state[2] << u64(1)) | (state[3] >> u64(63))
    increment_low = (state[3] << u64(1)) | u64(1)
    low = increment_low + state[1]
    high = increment_high + state[0] + u64(low < state[1])
    high, low = next_state(high, low, increment_high, increment_low)
    for k in range(len(numbers)):
        high, low = next_state(high, low, increment_high, increment_low)
        x, turns = high ^ low, high >> u64(58)
        word = (x >> turns) | (x << ((u64(64) - turns) & u64(63)))
        numbers[k] = np.float64(word >> u64(11)) * 2.0**-53
