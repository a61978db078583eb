import numpy as np
import pytest

from distpg.core.seeding import words
from distpg.kernels import lanes


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("units", "inputs"), [(3, 4), (2, 1), (5, 7), (16, 130)])
def test_a_layer_is_a_matrix_product(units: int, inputs: int) -> None:
    weights, bias, x = numbers(units, inputs), numbers(units), numbers(inputs, 16)
    found = np.empty((units, 16), np.float32)
    lanes.dense(weights, bias, x, found, True)
    expected = np.maximum(weights.astype(np.float64) @ x + bias[:, None], 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_difference_of_two_preferences() -> None:
    weights, bias, last, x = numbers(10, 4), numbers(10), numbers(11), numbers(4, 32)
    found = np.empty(32, np.float32)
    lanes.difference(weights, bias, last, (0, 1, 2, 3), x, found)
    hidden = np.maximum(weights.astype(np.float64) @ x + bias[:, None], 0)
    np.testing.assert_allclose(found, last[:-1] @ hidden + last[-1], atol=1e-5)


@pytest.mark.parametrize("t", [0, 1, 3, 4, 7, 8, 1001])
def test_random_words_are_those_of_the_next_four_steps(t: int) -> None:
    episodes = np.array([0, 5, 2**32 + 7, 2**55], np.uint64)
    found = np.zeros((8, 4), np.uint32)
    lanes.philox_blocks(np.full(4, t), episodes, np.uint64(2**63 + 9), np.uint64(1), found)
    block = t // 4 + 1
    expected = words(2**63 + 9, 1, episodes, 4 * block, 4).T
    half = slice(4 * (block % 2), 4 * (block % 2) + 4)
    assert (found[half] == expected).all()
    found[half] = 0
    assert not found.any(), "the other half stays as it is"


def test_the_choice_of_two_is_that_of_the_softmax() -> None:
    u, d = np.meshgrid(np.linspace(0, 1, 200, endpoint=False), np.linspace(-95, 95, 77))
    drawn = np.zeros((8, u.size), np.uint32)
    drawn[0] = (u.ravel() * 2**24).astype(np.uint32) << np.uint32(8)
    d32, actions = d.ravel().astype(np.float32), np.empty(u.size, np.int64)
    lanes.choose_of_two(d32, drawn, np.zeros(u.size, np.int64), np.empty(u.size, np.float32), actions)
    exact = (drawn[0] >> 8) / 2**24 >= 1 / (1 + np.exp(d32.astype(np.float64)))
    assert (actions != exact).mean() < 1e-3, "but where u is the probability, to the last bit"
