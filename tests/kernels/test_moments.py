import numpy as np
import pytest

from distpg.learning.normalisation import moments_of


@pytest.mark.parametrize(("rows", "size"), [(1, 4), (1000, 1), (5000, 4), (64, 3000)])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_moments_are_those_of_numpy_to_the_bit(rows: int, size: int, kind: type) -> None:
    numbers = np.random.default_rng(size).normal(100, 30, (rows, size)).astype(kind)
    count, mean, squares = moments_of(numbers)
    wide = numbers.astype(np.float64)
    expected = wide.sum(axis=0) / rows
    assert count == rows
    assert mean.tobytes() == expected.tobytes()
    assert squares.tobytes() == np.square(wide - expected).sum(axis=0).tobytes()
