"""The arithmetic of :mod:`distpg.sampling.compiled_policy`, compiled by numba at its first call.

Strict IEEE float32 in a fixed order, without fast-math. A row's result depends on its own inputs alone,
never on the rows beside it. Types are written out where numba's own rules would make doubles of them.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import exp, log
from distpg.kernels.philox import philox

# Rows that share one pass over a layer's weights, which are large where observations are.
BLOCK = 8
# A layer with fewer outputs is summed along its inputs, in eight partial sums instead of one long chain.
NARROW = 8

f32, u64 = np.float32, np.uint64


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
        outputs[row, :units] = bias
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
def tick(
    parameters,
    sizes,
    products,
    scratch,
    observations,
    actions,
    log_probs,
    choices,
    words,
    lanes,
    at,
    t,
    numbers,
):
    """The policy's choices in one step of some lanes, as :meth:`CompiledPolicy.act` says.

    Args:
        parameters: float32, layer by layer: the weights as that layer takes them, then the biases.
        sizes: int64, widths from features to preferences.
        products: int64[columns, 2], as of :func:`distpg.core.policies.flat_products`.
        scratch: float32[2, BLOCK, widest layer].
    """
    seed, stream, first, greedy = numbers[0], numbers[1], numbers[2], numbers[3]
    size, count = observations.shape[2], sizes[-1]
    for start in range(0, len(lanes), BLOCK):
        rows = min(BLOCK, len(lanes) - start)
        for row in range(rows):
            lane = lanes[start + row]
            scratch[0, row, :size] = observations[lane, at]
            for k in range(len(products)):
                scratch[0, row, size + k] = scratch[0, row, products[k, 0]] * scratch[0, row, products[k, 1]]
        half = preferences(parameters, sizes, scratch, rows)
        for row in range(rows):
            lane, h = lanes[start + row], scratch[half, row]
            best = 0
            for k in range(1, count):
                if h[k] > h[best]:
                    best = k
            highest, total, action = h[best], f32(0.0), best
            if greedy == u64(0) or len(log_probs) > 0:
                for k in range(count):
                    total += exp(h[k] - highest)
            if greedy == u64(0):
                if t % 4 == 0:
                    episode = first + u64(lane)
                    high = (stream << u64(24)) + (episode >> u64(32))
                    low = episode & u64(0xFFFFFFFF)
                    philox(u64(t // 4), u64(0), low, high, seed, words[lane])
                u = f32(words[lane, t % 4] >> np.uint32(8)) * f32(2.0**-24)
                below, action = f32(0.0), count - 1
                for k in range(count - 1):
                    below += exp(h[k] - highest) / total
                    if u < below:
                        action = k
                        break
            choices[start + row] = actions[lane, at] = action
            if len(log_probs) > 0:
                log_probs[lane, at] = (h[action] - highest) - log(total)
