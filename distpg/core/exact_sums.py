"""Sums of float64 arrays that are exact, so that neither order nor grouping changes a bit of them.

Partial sums may be added wherever they meet, on a runner, a node or the learner. The sum of each number is
held as an integer in digits to the base 2^32, of which only those between the lowest and the highest in use
are kept.

Sources: Kulisch, "Computer Arithmetic and Validity" (2008): the long fixed-point accumulator; Neal, "Fast
exact summation using small and large superaccumulators" (2015): digits with room for many additions before
carries are due; Demmel and Nguyen, "Fast reproducible floating-point summation" (2013): a number is cut by
adding a large one and taking it away again.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_BITS = 32
_HALF, _MASK = 1 << (_BITS - 1), (1 << _BITS) - 1
# So many terms whose digits are at most 2^31 can be added in 64 bits, with room for a carry.
_MOST_TERMS = 1 << 30
# From here on the number that cuts would be infinite; below 1 / _LARGE it would lose bits itself.
_LARGE, _LARGE_PLACES = 2.0**512, 512 // _BITS
# What is not finite is only noted: of which kinds there was any.
_PLUS, _MINUS, _NAN = 1, 2, 4
# Magic word, place of the lowest digit, number of digits, size, whether notes of what is not finite follow.
_HEADER = struct.Struct("<4siIII")
_MAGIC = b"dxs1"
# Multiples of 2^-1074, and more terms below 2^1024 than anyone adds.
_LOWEST, _HIGHEST = -34, 64


@dataclass(frozen=True, eq=False)
class ExactSum:
    """For each number the integer sum over k of ``digits[k]`` * 2^(32 * (lowest + k)).

    Attributes:
        lowest: Place of the first row of digits.
        digits: int64[K, size], the lowest first; they may overlap until they are :func:`normalised`.
        not_finite: uint8[size] that notes infinities and NaN among the terms; None: there were none.
        num_terms: No digit is larger in absolute value than 2^31 times this.
    """

    lowest: int
    digits: NDArray[np.int64]
    not_finite: NDArray[np.uint8] | None = None
    num_terms: int = 1

    @property
    def size(self) -> int:
        """Of the arrays that are added."""
        return int(self.digits.shape[1])


def exact(values: NDArray[np.float64]) -> ExactSum:
    """The sum of one term, float64[size], under the rounding to nearest that every process begins with."""
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        kinds = [np.isnan(values), values == np.inf, values == -np.inf]
        notes = np.select(kinds, [_NAN, _PLUS, _MINUS]).astype(np.uint8)
        return replace(exact(np.where(notes, 0.0, values)), not_finite=notes)
    if largest >= _LARGE:
        is_large = np.abs(values) >= _LARGE
        large = exact(np.where(is_large, values, 0.0) / _LARGE)
        small = exact(np.where(is_large, 0.0, values))
        return add(replace(large, lowest=large.lowest + _LARGE_PLACES), small)
    return _cut(values, largest)


def _cut(values: NDArray[np.float64], largest: float) -> ExactSum:
    """Into digits from the highest to the lowest.

    A number plus 1.5 * 2^(52 + 32 k) is rounded to a multiple of 2^(32 k), and the lower bits of the result
    are that multiple. What is left is exact, and at most half of 2^(32 k).
    """
    place, scale = int(np.frexp(largest)[1]) // _BITS, 0
    rest, rows = values.astype(np.float64), list[NDArray[np.int64]]()
    while rest.any():
        if place <= -_LARGE_PLACES:
            rest *= _LARGE
            place, scale = place + _LARGE_PLACES, scale - _LARGE_PLACES
        cutter = np.float64(1.5 * 2.0 ** (52 + _BITS * place))
        near = rest + cutter
        rows.append(near.view(np.int64) - cutter.view(np.int64))
        near -= cutter
        rest -= near
        place -= 1
    digits = np.array(rows[::-1], np.int64).reshape(len(rows), len(rest))
    return ExactSum(place + 1 + scale if rows else 0, digits)


def add(*sums: ExactSum) -> ExactSum:
    """The sum of one or more sums.

    Raises:
        ValueError: They are not of one size.
    """
    if len({part.size for part in sums}) != 1:
        raise ValueError(f"sums of these sizes cannot be added: {[part.size for part in sums]}")
    if sum(part.num_terms for part in sums) > _MOST_TERMS:
        sums = tuple(map(normalised, sums))
    used = [part for part in sums if len(part.digits)]
    lowest = min((part.lowest for part in used), default=0)
    end = max((part.lowest + len(part.digits) for part in used), default=0)
    digits = np.zeros((end - lowest, sums[0].size), np.int64)
    for part in used:
        start = part.lowest - lowest
        digits[start : start + len(part.digits)] += part.digits
    notes = [part.not_finite for part in sums if part.not_finite is not None]
    not_finite = np.bitwise_or.reduce(notes) if notes else None
    return ExactSum(lowest, digits, not_finite, sum(part.num_terms for part in sums))


def normalised(parts: ExactSum) -> ExactSum:
    """The same with digits from -2^31 to 2^31 - 1 and no empty row at an end: equal sums have equal ones."""
    digits = np.concatenate([parts.digits, np.zeros((1, parts.size), np.int64)])
    carry = np.zeros(parts.size, np.int64)
    for row in digits:
        row += carry
        np.add(row, _HALF, out=carry)
        carry >>= _BITS
        row -= carry << _BITS
    used = np.flatnonzero(digits.any(axis=1))
    if not len(used):
        return ExactSum(0, digits[:0], parts.not_finite)
    return ExactSum(parts.lowest + int(used[0]), digits[used[0] : used[-1] + 1], parts.not_finite)


def rounded(parts: ExactSum) -> NDArray[np.float64]:
    """The sum, float64[size]: the number nearest to it, and of two the even one, as IEEE 754 rounds once.

    So beyond the largest number it is infinite. It is infinite too where infinities of one sign were added,
    NaN where of both or any NaN. A sum of 0 is +0.0, whatever the signs of its zeros.
    """
    parts = normalised(parts)
    found = _nearest(parts)
    if (notes := parts.not_finite) is not None:
        found[notes == _PLUS] = np.inf
        found[notes == _MINUS] = -np.inf
        found[notes > _MINUS] = np.nan
    return found


def _nearest(parts: ExactSum) -> NDArray[np.float64]:
    sign = np.zeros(parts.size, np.int64)
    for row in parts.digits:
        np.copyto(sign, row, where=row != 0)
    sign = np.sign(sign)
    # Of the absolute value: the highest digit that is not 0, its place, and 62 bits of what is below, of
    # which the last is set too where any below it are.
    head, place, tail, rest, borrow = np.zeros((5, parts.size), np.int64)
    for number, row in enumerate(parts.digits):
        digit = row * sign + borrow
        borrow = digit >> _BITS
        digit &= _MASK
        is_higher = digit != 0
        np.copyto(head, digit, where=is_higher)
        np.copyto(tail, rest, where=is_higher)
        np.copyto(place, number, where=is_higher)
        rest = digit << (_BITS - 2) | rest >> _BITS | (rest & _MASK != 0)
    # 62 bits of both, which float64 rounds to 53 as it would the whole. A sum below 2^-1022 has fewer bits,
    # and is exact.
    length = np.frexp(head.astype(np.float64))[1].astype(np.int64)
    bits = head << (62 - length) | tail >> length | (tail & ((1 << length) - 1) != 0)
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = np.ldexp(
            bits.astype(np.float64), _BITS * (parts.lowest + place) + length - 62
        )
    return found * sign


def to_bytes(parts: ExactSum) -> bytes:
    """Equal sums as equal bytes: a header, int32[K, size], and uint8[size] if need be, all little-endian."""
    parts = normalised(parts)
    notes = b"" if parts.not_finite is None else parts.not_finite.tobytes()
    header = _HEADER.pack(_MAGIC, parts.lowest, *parts.digits.shape, parts.not_finite is not None)
    return header + parts.digits.astype("<i4").tobytes() + notes


def from_bytes(data: bytes) -> ExactSum:
    """What :func:`to_bytes` was given.

    Raises:
        ValueError: It gave no such bytes.
    """
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise ValueError("these bytes are no exact sum: they do not begin as one")
    _, lowest, num_digits, size, has_notes = _HEADER.unpack_from(data)
    end = _HEADER.size + 4 * num_digits * size
    if has_notes > 1 or len(data) != end + has_notes * size:
        raise ValueError(
            f"an exact sum is damaged: {len(data)} bytes for {num_digits} digits of {size} numbers"
        )
    digits = np.frombuffer(data, "<i4", num_digits * size, _HEADER.size).reshape(num_digits, size)
    notes = np.frombuffer(data, np.uint8, size, end) if has_notes else None
    is_in_range = _LOWEST <= lowest <= _HIGHEST - num_digits if num_digits else lowest == 0
    if not (is_in_range and digits[:1].any(axis=1).all() and digits[-1:].any(axis=1).all()):
        raise ValueError(
            f"an exact sum is damaged: {num_digits} digits from place {lowest} on, or empty ones"
        )
    if notes is not None and not 0 < notes.max(initial=0) <= _PLUS | _MINUS | _NAN:
        raise ValueError("an exact sum is damaged: no such infinities or NaN")
    return ExactSum(lowest, digits.astype(np.int64), notes)
