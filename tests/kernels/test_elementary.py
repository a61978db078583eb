import math

import numpy as np

from distpg.kernels.cartpole import TOTAL_MASS, over_total_mass
from distpg.kernels.elementary import exp, sin_cos


def test_sine_and_cosine_within_1e_15() -> None:
    for x in (
        *np.random.default_rng(0).uniform(-1e5, 1e5, 5000),
        0.0,
        -0.0,
        math.pi / 4,
        -math.pi / 2,
        1e-300,
    ):
        sine, cosine = sin_cos(x)
        assert abs(sine - math.sin(x)) < 1e-15
        assert abs(cosine - math.cos(x)) < 1e-15


def test_the_exponential_of_what_is_not_positive() -> None:
    for x in np.linspace(-86.9, 0, 5000, dtype=np.float32):
        assert abs(exp(x) / math.exp(x) - 1) < 2e-7
    assert exp(np.float32(-87.5)) == 0


def test_a_division_by_the_total_mass_to_the_bit() -> None:
    random = np.random.default_rng(0)
    for size in 10.0 ** np.arange(-8, 9):
        for x in random.normal(0, size, 500):
            assert over_total_mass(x) == x / TOTAL_MASS
