"""Blocks of a chunk of steps: ROWS rows of UNITS float32 numbers, flat, and what a gradient does to them.

Loops over units become vector instructions. Every product and sum is rounded as written: the same bits on
every CPU.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.intrinsics import bits_of_float, float_of_bits, fma

f32 = np.float32
UNITS, ROWS, SUMS = 64, 32, 16
BLOCK = UNITS * ROWS


@njit
def add_rows(out, rows, factors, column):
    """Add to each of ROWS rows of UNITS 4 rows, weighted by its factors in 4 columns, ``column`` and on."""
    for r in range(0, ROWS, 2):
        at = r * UNITS + column
        a0, a1, a2, a3 = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        at += UNITS
        b0, b1, b2, b3 = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        for u in range(UNITS):
            x0, x1, x2, x3 = rows[u], rows[UNITS + u], rows[2 * UNITS + u], rows[3 * UNITS + u]
            i, k = r * UNITS + u, (r + 1) * UNITS + u
            out[i] = fma(a3, x3, fma(a2, x2, fma(a1, x1, fma(a0, x0, out[i]))))
            out[k] = fma(b3, x3, fma(b2, x2, fma(b1, x1, fma(b0, x0, out[k]))))


@njit
def add_outer(out, rows, factors, column):
    """Add to 2 rows of UNITS all ROWS rows, weighted by their factors in 2 columns."""
    for r in range(0, ROWS, 4):
        at = r * UNITS + column
        a0, a1, a2, a3 = factors[at], factors[at + UNITS], factors[at + 2 * UNITS], factors[at + 3 * UNITS]
        at += 1
        b0, b1, b2, b3 = factors[at], factors[at + UNITS], factors[at + 2 * UNITS], factors[at + 3 * UNITS]
        for u in range(UNITS):
            i = r * UNITS + u
            x0, x1, x2, x3 = rows[i], rows[i + UNITS], rows[i + 2 * UNITS], rows[i + 3 * UNITS]
            out[u] = fma(a3, x3, fma(a2, x2, fma(a1, x1, fma(a0, x0, out[u]))))
            out[UNITS + u] = fma(b3, x3, fma(b2, x2, fma(b1, x1, fma(b0, x0, out[UNITS + u]))))


@njit
def begin_rows(out, bias, rows, factors):
    """ROWS rows of UNITS: as :func:`add_rows`, with a row that all begin with."""
    for r in range(0, ROWS, 2):
        at = r * UNITS
        a0, a1, a2, a3 = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        at += UNITS
        b0, b1, b2, b3 = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        for u in range(UNITS):
            x0, x1, x2, x3 = rows[u], rows[UNITS + u], rows[2 * UNITS + u], rows[3 * UNITS + u]
            i, k = r * UNITS + u, (r + 1) * UNITS + u
            out[i] = fma(a3, x3, fma(a2, x2, fma(a1, x1, fma(a0, x0, bias[u]))))
            out[k] = fma(b3, x3, fma(b2, x2, fma(b1, x1, fma(b0, x0, bias[u]))))


@njit
def rectify(out):
    """ReLU, by bits: a comparison becomes memory written under a condition, which is slow."""
    for i in range(BLOCK):
        bits = bits_of_float(out[i])
        out[i] = float_of_bits(np.int32(bits & ~(bits >> np.int32(31))))


@njit
def let_through(errors, outputs):
    """The slope of ReLU: 0 where its output is."""
    for i in range(BLOCK):
        errors[i] = errors[i] if outputs[i] > f32(0.0) else f32(0.0)


@njit
def add_dots(weights, x, sums):
    """Add to SUMS sums of each of ROWS rows the products of its UNITS numbers with the weights.

    Four rows at a time: a shorter loop is unrolled before it can become vector instructions.
    """
    for r in range(0, ROWS, 4):
        for u in range(SUMS):
            w0, w1, w2, w3 = weights[u], weights[SUMS + u], weights[2 * SUMS + u], weights[3 * SUMS + u]
            i, k = r * UNITS + u, r * SUMS + u
            for _ in range(4):
                s = fma(w1, x[i + SUMS], fma(w0, x[i], sums[k]))
                sums[k] = fma(w3, x[i + 3 * SUMS], fma(w2, x[i + 2 * SUMS], s))
                i, k = i + UNITS, k + SUMS


@njit
def add_up(sums, bias, out):
    """The SUMS sums of each row, in pairs."""
    for r in range(ROWS):
        i = r * SUMS
        a = (sums[i] + sums[i + 1]) + (sums[i + 2] + sums[i + 3])
        b = (sums[i + 4] + sums[i + 5]) + (sums[i + 6] + sums[i + 7])
        c = (sums[i + 8] + sums[i + 9]) + (sums[i + 10] + sums[i + 11])
        d = (sums[i + 12] + sums[i + 13]) + (sums[i + 14] + sums[i + 15])
        out[r] = bias + ((a + b) + (c + d))


@njit
def add_outer_row(out, rows, factors):
    """Add to a row of UNITS all ROWS rows, weighted by a factor each."""
    for r in range(0, ROWS, 4):
        g0, g1, g2, g3 = factors[r], factors[r + 1], factors[r + 2], factors[r + 3]
        for u in range(UNITS):
            i = r * UNITS + u
            x0, x1, x2, x3 = rows[i], rows[i + UNITS], rows[i + 2 * UNITS], rows[i + 3 * UNITS]
            out[u] = fma(g3, x3, fma(g2, x2, fma(g1, x1, fma(g0, x0, out[u]))))


@njit
def begin_errors(out, row, factors, outputs):
    """ROWS rows of UNITS: a row, weighted by a factor each, and 0 where an output of ReLU is."""
    for r in range(ROWS):
        g = factors[r]
        for u in range(UNITS):
            i = r * UNITS + u
            out[i] = float_of_bits(np.int32(bits_of_float(row[u] * g) & open_gate(outputs[i])))


@njit
def add_errors(out, row, factors, outputs):
    """As :func:`begin_errors`, added."""
    for r in range(ROWS):
        g = factors[r]
        for u in range(UNITS):
            i = r * UNITS + u
            out[i] += float_of_bits(np.int32(bits_of_float(row[u] * g) & open_gate(outputs[i])))


@njit
def open_gate(output):
    """All bits where an output of ReLU is above 0."""
    return np.int32(0) - np.int32(output > f32(0.0))


@njit
def add_all(out, rows):
    """Add to a row of UNITS all ROWS rows."""
    for r in range(0, ROWS, 4):
        for u in range(UNITS):
            i = r * UNITS + u
            out[u] += (rows[i] + rows[i + UNITS]) + (rows[i + 2 * UNITS] + rows[i + 3 * UNITS])
