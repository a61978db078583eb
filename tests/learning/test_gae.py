import numpy as np
import pytest

from distpg.core.returns import discounted_returns
from distpg.learning.gae import generalised_advantages

LENGTHS = np.array([3, 1, 5], np.int32)
GAMMA = 0.9


def slow(
    rewards: np.ndarray, values: np.ndarray, finals: np.ndarray, lam: float, start: int, length: int, t: int
) -> float:
    """The sum of equation 16, term by term."""
    following = [*values[start + 1 : start + length], finals]
    return sum(
        (GAMMA * lam) ** k * (rewards[start + t + k] + GAMMA * following[t + k] - values[start + t + k])
        for k in range(length - t)
    )


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_against_the_sum_of_the_paper(lam: float) -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=9).astype(np.float32), rng.normal(size=9)
    finals = np.array([0.0, rng.normal(), 0.0])
    found = generalised_advantages(rewards, values, finals, LENGTHS, GAMMA, lam)
    starts = [0, 3, 4]
    expected = [
        slow(rewards.astype(float), values, final, lam, start, length, t)
        for start, length, final in zip(starts, LENGTHS.tolist(), finals.tolist(), strict=True)
        for t in range(length)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_with_lambda_1_it_is_the_return_minus_the_value() -> None:
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=9).astype(np.float32), rng.normal(size=9)
    found = generalised_advantages(rewards, values, np.zeros(3), LENGTHS, GAMMA, 1.0)
    returns = discounted_returns(rewards.astype(np.float64), LENGTHS, GAMMA, "to-go")
    np.testing.assert_allclose(found, returns - values, rtol=1e-12)


def test_an_episode_that_was_cut_counts_what_would_have_followed() -> None:
    found = generalised_advantages(
        np.float32([1]), np.array([0.0]), np.array([10.0]), np.array([1], np.int32), GAMMA, 0.3
    )
    assert found.tolist() == [1 + GAMMA * 10]
