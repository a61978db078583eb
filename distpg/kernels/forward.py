"""The arithmetic of :mod:`distpg.sampling.compiled_policy`, compiled by numba at its first call.

Strict IEEE float32 in a fixed order, without fast-math. A row's result depends on its own inputs alone,
never on the rows beside it. Types are written out where numba's own rules would make doubles of them.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.core.policies import LARGEST_FEATURE
from distpg.kernels.compile_cache import njit

# Rows that share one pass over a layer's weights, which are large where observations are.
BLOCK = 8
# A layer with fewer outputs is summed along its inputs, in eight partial sums instead of one long chain.
NARROW = 8

f32 = np.float32
LARGEST = f32(LARGEST_FEATURE)


@njit
def narrow_layer(weights, bias, inputs, outputs, rows):
    """Outputs of few units: dot products in eight partial sums, weights float32[units, inputs]."""
    size = weights.shape[1]
    whole = size - size % 8
    for row in range(rows):
        for unit in range(weights.shape[0]):
            a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = f32(0.0)
            for k in range(0, whole, 8):
                a0 += inputs[row, k] * weights[unit, k]
                a1 += inputs[row, k + 1] * weights[unit, k + 1]
                a2 += inputs[row, k + 2] * weights[unit, k + 2]
                a3 += inputs[row, k + 3] * weights[unit, k + 3]
                a4 += inputs[row, k + 4] * weights[unit, k + 4]
                a5 += inputs[row, k + 5] * weights[unit, k + 5]
                a6 += inputs[row, k + 6] * weights[unit, k + 6]
                a7 += inputs[row, k + 7] * weights[unit, k + 7]
            total = ((a0 + a4) + (a1 + a5)) + ((a2 + a6) + (a3 + a7))
            for k in range(whole, size):
                total += inputs[row, k] * weights[unit, k]
            outputs[row, unit] = total + bias[unit]


@njit
def wide_layer(weights, bias, inputs, outputs, rows):
    """Outputs of many units: one input after the other, weights float32[inputs, units]."""
    units = weights.shape[1]
    for row in range(rows):
        for unit in range(units):
            outputs[row, unit] = bias[unit]
    for k in range(weights.shape[0]):
        for row in range(rows):
            x = inputs[row, k]
            for unit in range(units):
                outputs[row, unit] += x * weights[k, unit]


@njit
def preferences(parameters, sizes, scratch, rows):
    """The layers, from scratch[0] on; which half of scratch holds their result."""
    half, end = 0, 0
    for layer in range(len(sizes) - 1):
        inputs, units = sizes[layer], sizes[layer + 1]
        start, end = end, end + inputs * units
        weights, bias = parameters[start:end], parameters[end : end + units]
        end += units
        if units < NARROW:
            narrow_layer(weights.reshape((units, inputs)), bias, scratch[half], scratch[1 - half], rows)
        else:
            wide_layer(weights.reshape((inputs, units)), bias, scratch[half], scratch[1 - half], rows)
        half = 1 - half
        if layer < len(sizes) - 2:
            for row in range(rows):
                for unit in range(units):
                    scratch[half, row, unit] = max(scratch[half, row, unit], f32(0.0))
    return half


@njit
def block(parameters, sizes, products, mean, scale, scratch, observations, lanes, at, start, rows):
    """The outputs of some lanes' observations; which half of scratch holds them.

    Args:
        parameters: float32, layer by layer: the weights as that layer takes them, then the biases.
        sizes: int64, widths from features to outputs.
        products: int64[columns, 2], as of :func:`distpg.core.policies.flat_products`.
        mean, scale: float32[observation size], or of length 0 where observations are taken as they are.
        scratch: float32[2, BLOCK, widest layer].
        observations: float32 or uint8[lanes, steps, observation size].
    """
    size = observations.shape[2]
    for row in range(rows):
        lane = lanes[start + row]
        for k in range(size):
            scratch[0, row, k] = observations[lane, at, k]
        for k in range(len(mean)):
            x = (scratch[0, row, k] - mean[k]) * scale[k]
            scratch[0, row, k] = min(max(x, -LARGEST), LARGEST)
        for k in range(len(products)):
            scratch[0, row, size + k] = scratch[0, row, products[k, 0]] * scratch[0, row, products[k, 1]]
    return preferences(parameters, sizes, scratch, rows)
