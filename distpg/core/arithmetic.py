"""Sums that every version of Python rounds alike."""

import functools
import operator
from collections.abc import Iterable


def float_sum(values: Iterable[float]) -> float:
    """Values added from left to right as float64; ``sum`` compensates its rounding from Python 3.12 on."""
    return functools.reduce(operator.add, values, 0.0)
