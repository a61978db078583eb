import math
import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distpg.core.exact_sums import ExactSum, add, exact, from_bytes, normalised, rounded, to_bytes

LARGEST, SMALLEST = 1.7976931348623157e308, 5e-324
# Of any size, of few bits (so that halves lie exactly between two numbers), and at the ends.
FINITE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(math.ldexp, st.integers(-3, 3), st.integers(-60, 60)),
    st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, 2.0**-1022, LARGEST, -LARGEST, 2.0**512, 2.0**-512]),
)


def rows(numbers: st.SearchStrategy[float], most: int = 12) -> st.SearchStrategy[list[list[float]]]:
    """Terms of one size each."""
    return st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=most)
    )


def sum_of(terms: Sequence[Sequence[float]]) -> ExactSum:
    return add(*(exact(np.array(term)) for term in terms))


def expected(column: Sequence[float]) -> float:
    """The correctly rounded sum, from whole numbers."""
    total = sum(map(Fraction, column), Fraction(0))
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def value_of(parts: ExactSum, number: int) -> Fraction:
    """What the digits mean."""
    digits = enumerate(parts.digits[:, number].tolist(), parts.lowest)
    return sum((digit * Fraction(2) ** (32 * place) for place, digit in digits), Fraction(0))


@given(rows(FINITE))
@example([[1e300], [1.0], [-1e300]])
@example([[LARGEST], [2.0**970]])  # half a unit in the last place more: infinite
@example([[LARGEST], [2.0**970], [-SMALLEST]])  # and not quite
@example([[LARGEST], [LARGEST], [-LARGEST]])
@example([[1.0], [2.0**-53]])  # between two numbers: the even one
@example([[1.0], [2.0**-53], [SMALLEST]])
@example([[-1.0], [-(2.0**-53)], [-(2.0**-52)]])
@example([[SMALLEST], [2.0**-1022]])
def test_it_is_the_sum_of_fractions_rounded_once(terms: list[list[float]]) -> None:
    assert rounded(sum_of(terms)).tolist() == [expected(column) for column in zip(*terms, strict=True)]


@given(st.lists(st.floats(-1e300, 1e300), max_size=50))
def test_it_is_what_math_fsum_says(column: list[float]) -> None:
    assert rounded(sum_of([[0.0], *([number] for number in column)])).tolist() == [math.fsum(column)]


@given(rows(st.floats(), 10), st.randoms(use_true_random=False))
def test_neither_order_nor_grouping_changes_a_byte(terms: list[list[float]], rng: random.Random) -> None:
    flat = to_bytes(sum_of(terms))
    partial = [exact(np.array(term)) for term in terms]
    while len(partial) > 1:
        rng.shuffle(partial)
        count = rng.randint(2, len(partial))
        met = add(*partial[:count])
        # Some travel before they are added to others.
        partial[:count] = [from_bytes(to_bytes(met)) if rng.random() < 0.5 else met]
    assert to_bytes(partial[0]) == flat


@given(rows(FINITE))
def test_digits_are_exact_and_normalised_ones_unique(terms: list[list[float]]) -> None:
    parts = sum_of(terms)
    canonical = normalised(parts)
    for number, column in enumerate(zip(*terms, strict=True)):
        total = sum(map(Fraction, column), Fraction(0))
        assert value_of(parts, number) == value_of(canonical, number) == total
    assert canonical.digits.size == 0 or -(2**31) <= canonical.digits.min() <= canonical.digits.max() < 2**31
    # The same with terms that cancel, far above and below.
    away = [[number] * parts.size for number in (1e308, 1e-320, -1e308, -1e-320)]
    assert to_bytes(add(parts, sum_of(away))) == to_bytes(parts)


def test_zeros_are_positive_and_nothing_has_no_digits() -> None:
    for terms in ([[0.0]], [[-0.0]], [[-0.0], [-0.0]], [[1.5], [-1.5]]):
        (found,) = rounded(sum_of(terms)).tolist()
        assert (found, math.copysign(1, found)) == (0.0, 1.0)
        assert to_bytes(sum_of(terms)) == to_bytes(exact(np.zeros(1)))
    assert rounded(exact(np.zeros(0))).shape == (0,)
    assert from_bytes(to_bytes(exact(np.zeros(0)))).size == 0


def test_infinities_and_nan_count_in_any_order() -> None:
    inf, nan = math.inf, math.nan
    columns = {(inf, 1.0): inf, (-inf, -inf): -inf, (inf, -inf): nan, (nan, 1.0): nan, (nan, inf): nan}
    for (first, second), total in columns.items():
        for terms in ([[first, 2.0], [second, 3.0]], [[second, 2.0], [first, 3.0]]):
            found = rounded(from_bytes(to_bytes(sum_of(terms))))
            np.testing.assert_array_equal(found, [total, 5.0])


def test_carries_wait_for_as_many_terms_as_promised_and_no_longer() -> None:
    """2^30 terms of the largest digits, twice: one more addition without carries would overflow."""
    many = ExactSum(0, np.full((3, 1), 2**61), num_terms=2**30)
    both = add(many, add(many, many), many)
    assert value_of(both, 0) == 4 * value_of(many, 0)
    assert np.abs(both.digits).max() <= both.num_terms * 2**31 < 2**62
    assert to_bytes(add(many, ExactSum(0, -many.digits, num_terms=2**30))) == to_bytes(exact(np.zeros(1)))


@pytest.mark.parametrize("values", [np.array([-3.0, 1e-310]), np.array([1e300, -3.0, math.inf])])
def test_what_is_added_stays_as_it_was(values: np.ndarray) -> None:
    before, parts = values.copy(), exact(values)
    digits = parts.digits.copy()
    add(parts, parts)
    rounded(parts)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(parts.digits, digits)


def test_sizes_differ() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        add(exact(np.zeros(2)), exact(np.ones(3)))
    with pytest.raises(ValueError, match=r"\[\]"):
        add()


GOOD = to_bytes(exact(np.array([1.0, 2.0**40, math.nan])))


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (b"", "do not begin"),
        (b"dxs2" + GOOD[4:], "do not begin"),
        (GOOD[:-1], "for 2 digits of 3 numbers"),
        (GOOD + b"\0", "for 2 digits of 3 numbers"),
        (GOOD[:4] + (99).to_bytes(4, "little") + GOOD[8:], "from place 99"),
        (GOOD[:16] + (2).to_bytes(4, "little") + GOOD[20:] + bytes(3), "for 2 digits"),
        (GOOD[:20] + bytes(12) + GOOD[32:], "empty ones"),
        (GOOD[:-1] + b"\x08", "infinities or NaN"),
        (GOOD[:-3] + bytes(3), "infinities or NaN"),
        (to_bytes(exact(np.zeros(1)))[:4] + b"\1" + to_bytes(exact(np.zeros(1)))[5:], "from place 1"),
    ],
)
def test_damaged_bytes_are_refused(damaged: bytes, why: str) -> None:
    assert from_bytes(GOOD).size == 3
    with pytest.raises(ValueError, match=why):
        from_bytes(damaged)


def test_bytes_are_the_same_everywhere() -> None:
    """Little-endian; the 898 numbers of a gradient take four digits each."""
    assert to_bytes(sum_of([[1.0], [-(2.0**31)]])).hex() == (
        "64787331" + "00000000" + "01000000" + "01000000" + "00000000" + "01000080"
    )
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=898) * 10.0 ** rng.uniform(-4, 1, size=898)
    assert len(to_bytes(exact(gradient))) == 20 + 4 * 4 * 898
