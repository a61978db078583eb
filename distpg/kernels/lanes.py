"""A policy over lanes, side by side so that each loop over them is one of vector instructions.

A lane's numbers depend on its own inputs alone: every product and sum is rounded as written, whatever the
width of the CPU's vectors.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.core.policies import LARGEST_FEATURE
from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import exp
from distpg.kernels.intrinsics import fma
from distpg.kernels.philox import philox_words

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
def add(w, inputs, outputs):
    """A row of inputs, weighted."""
    for lane in range(len(outputs)):
        outputs[lane] = fma(w, inputs[lane], outputs[lane])


@njit
def add_four(w0, w1, w2, w3, inputs, outputs):
    """Four rows of inputs, weighted: as :func:`add` of one after the other, with one load and store."""
    x0, x1, x2, x3 = inputs[0], inputs[1], inputs[2], inputs[3]
    for lane in range(len(outputs)):
        outputs[lane] = fma(
            w3, x3[lane], fma(w2, x2[lane], fma(w1, x1[lane], fma(w0, x0[lane], outputs[lane])))
        )


@njit
def rectify(outputs):
    """Negative numbers become 0."""
    for lane in range(len(outputs)):
        outputs[lane] = max(outputs[lane], f32(0.0))


@njit
def dense(weights, bias, inputs, outputs, rectifies):
    """A layer: weights float32[units, inputs], outputs float32[units, lanes]."""
    size = weights.shape[1]
    fours = 4 * (size // 4)
    for unit in range(len(weights)):
        w, row = weights[unit], outputs[unit]
        row[:] = bias[unit]
        for k in range(0, fours, 4):
            add_four(w[k], w[k + 1], w[k + 2], w[k + 3], inputs[k : k + 4], row)
        for k in range(fours, size):
            add(w[k], inputs[k], row)
        if rectifies:
            rectify(row)


@njit
def difference(weights, bias, last, columns, inputs, outputs):
    """Of two actions' preferences, through one hidden layer: the second's above the first's, float32[lanes].

    Two units at a time, so that each load of an input serves both.

    Args:
        weights, bias: float32[units, inputs] and float32[units], an even number of units.
        last: float32[units + 1], the difference of the two actions' weights, then of their biases.
        columns: A tuple as long as there are inputs: the compiler sees its length.
    """
    lanes = inputs.shape[1]
    for lane in range(lanes):
        outputs[lane] = last[-1]
    for unit in range(0, len(bias), 2):
        v, other_v = last[unit], last[unit + 1]
        for lane in range(lanes):
            z, other_z = bias[unit], bias[unit + 1]
            for k in range(len(columns)):
                z = fma(weights[unit, k], inputs[k, lane], z)
            for k in range(len(columns)):
                other_z = fma(weights[unit + 1, k], inputs[k, lane], other_z)
            y = fma(v, max(z, f32(0.0)), outputs[lane])
            outputs[lane] = fma(other_v, max(other_z, f32(0.0)), y)


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
