import math

from distpg.core.arithmetic import float_sum


def test_sums_are_those_of_plain_float64_from_left_to_right() -> None:
    # Compensated, as sum() is from Python 3.12 on, they would be 1.0 and 2.0.
    assert float_sum([0.1] * 10) == 0.9999999999999999
    assert float_sum([1.0, 1e100, 1.0, -1e100]) == 0.0


def test_nothing_and_a_negative_zero_are_zero() -> None:
    assert [math.copysign(1, float_sum(values)) for values in ([], [-0.0])] == [1, 1]
