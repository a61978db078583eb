"""Blocks of a chunk of steps: ROWS rows of UNITS float32 numbers, flat, and what a gradient does to them.

Sums stay in registers while rows are added to them, four times sixteen at once: as many as keep a CPU busy
that adds to the same sum only every fourth cycle. Every product and sum is rounded as written: the same bits
on every CPU.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.vectors import (
    SIZE,
    add16,
    fma16,
    load,
    multiply16,
    rectified,
    splat,
    store,
    where_positive,
)

f32, u64 = np.float32, np.uint64
UNITS, ROWS, SUMS = 64, 64, SIZE
BLOCK = UNITS * ROWS
# Unsigned, as numba looks of other places whether they are negative.
_UNITS, _BLOCK, _16 = u64(UNITS), u64(BLOCK), u64(SIZE)
_0, _1, _2, _3, _4 = u64(0), u64(1), u64(2), u64(3), u64(4)


@njit
def add_rows(begin, step, rows, count, factors, rectifies, out):
    """Of each of ROWS rows of UNITS: a sum of ``count`` rows, weighted by its factors.

    Args:
        begin, step: What a row begins with, ``step`` numbers behind what the row before begins with.
        factors: ROWS rows of UNITS.
        rectifies: Whether what is below 0 becomes 0 (ReLU).
    """
    for r in range(_0, u64(ROWS), _4):
        for u in range(_0, _UNITS, _16):
            at, f = r * u64(step) + u, r * _UNITS
            a, b = load(begin, at), load(begin, at + u64(step))
            c, d = load(begin, at + _2 * u64(step)), load(begin, at + _3 * u64(step))
            for k in range(u64(count)):
                x = load(rows, k * _UNITS + u)
                a, b = fma16(splat(factors[f + k]), x, a), fma16(splat(factors[f + k + _UNITS]), x, b)
                c = fma16(splat(factors[f + k + _2 * _UNITS]), x, c)
                d = fma16(splat(factors[f + k + _3 * _UNITS]), x, d)
            if rectifies:
                a, b, c, d = rectified(a), rectified(b), rectified(c), rectified(d)
            into = r * _UNITS + u
            store(out, into, a)
            store(out, into + _UNITS, b)
            store(out, into + _2 * _UNITS, c)
            store(out, into + _3 * _UNITS, d)


@njit
def add_outer(out, rows, factors, count):
    """Add to each of ``count`` rows of UNITS ROWS rows, weighted by its column of factors.

    ``count`` is a multiple of four.
    """
    for k in range(_0, u64(count), _4):
        for u in range(_0, _UNITS, _16):
            at = k * _UNITS + u
            a, b = load(out, at), load(out, at + _UNITS)
            c, d = load(out, at + _2 * _UNITS), load(out, at + _3 * _UNITS)
            for r in range(_0, _BLOCK, _UNITS):
                x, f = load(rows, r + u), r + k
                a, b = fma16(splat(factors[f]), x, a), fma16(splat(factors[f + _1]), x, b)
                c, d = fma16(splat(factors[f + _2]), x, c), fma16(splat(factors[f + _3]), x, d)
            store(out, at, a)
            store(out, at + _UNITS, b)
            store(out, at + _2 * _UNITS, c)
            store(out, at + _3 * _UNITS, d)


@njit
def let_through(errors, outputs):
    """The slope of ReLU: 0 where its output is."""
    for i in range(_0, _BLOCK, _16):
        store(errors, i, where_positive(load(outputs, i), load(errors, i)))


@njit
def add_dots(weights, x, sums):
    """Add to SUMS sums of each of ROWS rows the products of its UNITS numbers with the weights."""
    a, b, c, d = load(weights, _0), load(weights, _16), load(weights, _2 * _16), load(weights, _3 * _16)
    for r in range(u64(ROWS)):
        i, k = r * _UNITS, r * _16
        s = fma16(b, load(x, i + _16), fma16(a, load(x, i), load(sums, k)))
        store(sums, k, fma16(d, load(x, i + _3 * _16), fma16(c, load(x, i + _2 * _16), s)))


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
    a, b, c, d = load(out, _0), load(out, _16), load(out, _2 * _16), load(out, _3 * _16)
    for r in range(u64(ROWS)):
        g, i = splat(factors[r]), r * _UNITS
        a, b = fma16(g, load(rows, i), a), fma16(g, load(rows, i + _16), b)
        c, d = fma16(g, load(rows, i + _2 * _16), c), fma16(g, load(rows, i + _3 * _16), d)
    store(out, _0, a)
    store(out, _16, b)
    store(out, _2 * _16, c)
    store(out, _3 * _16, d)


@njit
def add_errors(out, row, factors, outputs, begins):
    """Add to ROWS rows of UNITS a row, weighted by a factor each, where an output of ReLU is above 0.

    ``begins``: whether what they were before is forgotten.
    """
    for u in range(_0, _UNITS, _16):
        w = load(row, u)
        for r in range(u64(ROWS)):
            i = r * _UNITS + u
            error = where_positive(load(outputs, i), multiply16(w, splat(factors[r])))
            store(out, i, error if begins else add16(load(out, i), error))


@njit
def add_gated_outer(out, weights, slopes, outputs, factors, count):
    """:func:`add_errors` and :func:`add_outer` of them in one, and their sum into the row behind the others.

    Args:
        weights: A row of UNITS for each row of ``slopes``, float32[actions - 1, ROWS].
    """
    for k in range(_0, u64(count), _4):
        for u in range(_0, _UNITS, _16):
            at, last = k * _UNITS + u, u64(count) * _UNITS + u
            a, b = load(out, at), load(out, at + _UNITS)
            c, d = load(out, at + _2 * _UNITS), load(out, at + _3 * _UNITS)
            total = load(out, last)
            for r in range(u64(ROWS)):
                e = multiply16(load(weights, u), splat(slopes[_0, r]))
                for action in range(_1, u64(len(slopes))):
                    w = load(weights, action * _UNITS + u)
                    e = add16(e, multiply16(w, splat(slopes[action, r])))
                i, f = r * _UNITS + u, r * _UNITS + k
                e = where_positive(load(outputs, i), e)
                a, b = fma16(splat(factors[f]), e, a), fma16(splat(factors[f + _1]), e, b)
                c, d = fma16(splat(factors[f + _2]), e, c), fma16(splat(factors[f + _3]), e, d)
                total = add16(total, e)
            store(out, at, a)
            store(out, at + _UNITS, b)
            store(out, at + _2 * _UNITS, c)
            store(out, at + _3 * _UNITS, d)
            if k == _0:
                store(out, last, total)


@njit
def add_all(out, rows):
    """Add to a row of UNITS all ROWS rows, in pairs."""
    for u in range(_0, _UNITS, _16):
        total = load(out, u)
        for i in range(u, _BLOCK, _4 * _UNITS):
            a, b = load(rows, i), load(rows, i + _UNITS)
            c, d = load(rows, i + _2 * _UNITS), load(rows, i + _3 * _UNITS)
            total = add16(total, add16(add16(a, b), add16(c, d)))
        store(out, u, total)
