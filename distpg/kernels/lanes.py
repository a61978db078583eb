"""A policy over lanes, side by side so that each loop over them is one of vector instructions.

A lane's numbers depend on its own inputs alone: every product and sum is rounded as written, whatever the
width of the CPU's vectors.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.core.policies import LARGEST_FEATURE
from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import exp
from distpg.kernels.philox import philox_words
from distpg.kernels.vectors import SIZE, fma16, load, rectified, splat, store

f32, u32, u64 = np.float32, np.uint32, np.uint64
LARGEST = f32(LARGEST_FEATURE)


@njit
def features(observations, mean, scale, products, inputs):
    """What the first layer takes, float32[features, lanes], from observations float32[numbers, lanes]."""
    size, lanes = observations.shape
    for k in range(size):
        if len(mean):
            for lane in range(lanes):
                x = (observations[k, lane] - mean[k]) * scale[k]
                inputs[k, lane] = min(max(x, -LARGEST), LARGEST)
        else:
            for lane in range(lanes):
                inputs[k, lane] = observations[k, lane]
    for k in range(len(products)):
        one, other = products[k, 0], products[k, 1]
        for lane in range(lanes):
            inputs[size + k, lane] = inputs[one, lane] * inputs[other, lane]


@njit
def dense(weights, bias, inputs, outputs, rectifies):
    """A layer: weights float32[units, inputs], outputs float32[units, lanes], a multiple of sixteen lanes.

    Four units at a time: as many sums as keep a CPU busy that adds to one of them only every fourth cycle.
    """
    lanes, units, size = u64(inputs.shape[1]), u64(len(weights)), u64(weights.shape[1])
    weights, inputs, outputs = weights.reshape(-1), inputs.reshape(-1), outputs.reshape(-1)
    for unit in range(u64(0), units, u64(4)):
        # Of the last units' missing fellows nothing is kept.
        u1, u2, u3 = (
            min(unit + u64(1), units - u64(1)),
            min(unit + u64(2), units - u64(1)),
            min(unit + u64(3), units - u64(1)),
        )
        w0, w1, w2, w3 = unit * size, u1 * size, u2 * size, u3 * size
        for lane in range(u64(0), lanes, u64(SIZE)):
            a, b, c, d = splat(bias[unit]), splat(bias[u1]), splat(bias[u2]), splat(bias[u3])
            for k in range(size):
                x = load(inputs, k * lanes + lane)
                a, b = fma16(splat(weights[w0 + k]), x, a), fma16(splat(weights[w1 + k]), x, b)
                c, d = fma16(splat(weights[w2 + k]), x, c), fma16(splat(weights[w3 + k]), x, d)
            if rectifies:
                a, b, c, d = rectified(a), rectified(b), rectified(c), rectified(d)
            store(outputs, u3 * lanes + lane, d)
            store(outputs, u2 * lanes + lane, c)
            store(outputs, u1 * lanes + lane, b)
            store(outputs, unit * lanes + lane, a)


@njit
def difference(weights, bias, last, columns, inputs, outputs):
    """Of two actions' preferences, through one hidden layer: the second's above the first's, float32[lanes].

    Sixteen lanes at a time, so that their inputs and sums stay in registers.

    Args:
        weights, bias: float32[units, inputs] and float32[units].
        last: float32[units + 1], the difference of the two actions' weights, then of their biases.
        columns: A tuple as long as there are inputs: the compiler sees its length.
        inputs: float32[inputs, lanes], a multiple of sixteen.
    """
    lanes, units, size = u64(inputs.shape[1]), u64(len(bias)), u64(len(columns))
    weights, inputs = weights.reshape(-1), inputs.reshape(-1)
    for lane in range(u64(0), lanes, u64(SIZE)):
        y = splat(last[units])
        for unit in range(units):
            z = splat(bias[unit])
            for k in range(len(columns)):
                w = splat(weights[unit * size + u64(k)])
                z = fma16(w, load(inputs, u64(k) * lanes + lane), z)
            y = fma16(splat(last[unit]), rectified(z), y)
        store(outputs, lane, y)


@njit
def philox_blocks(t, episodes, seed, stream, words):
    """Of each lane's four steps after those in which it is, the random words: into half of uint32[8, lanes].

    The block b of four steps is in rows 4 (b mod 2) to 4 (b mod 2) + 3.
    """
    low, shift = u64(0xFFFFFFFF), u64(32)
    for lane in range(len(t)):
        block = u64(t[lane] >> 2) + u64(1)
        high = (stream << u64(24)) + (episodes[lane] >> shift)
        c0, c1, c2, c3 = philox_words(block, u64(0), episodes[lane] & low, high, seed)
        # By bits, as memory that is written under a condition is slow: all ones where the block is odd.
        odd = u32(0) - u32(block & u64(1))
        for k, word in enumerate((u32(c0), u32(c1), u32(c2), u32(c3))):
            words[k, lane] = (words[k, lane] & odd) | (word & ~odd)
            words[4 + k, lane] = (words[4 + k, lane] & ~odd) | (word & odd)


@njit
def choose_of_two(differences, words, t, drawn, actions):
    """Action 0 where u < 1 / (1 + exp d), without a division; ``drawn`` float32[lanes] is room."""
    for lane in range(len(t)):  # apart, as no vector instruction does this
        drawn[lane] = words[t[lane] & 7, lane] >> u32(8)
    for lane in range(len(t)):
        d, u = differences[lane], drawn[lane] * f32(2.0**-24)
        e = exp(-abs(d))
        actions[lane] = u * (f32(1.0) + e) >= (f32(1.0) if d <= f32(0.0) else e)
