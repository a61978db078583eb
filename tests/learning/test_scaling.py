import numpy as np
import pytest

from distpg.learning.scaling import discount_weights, scale_advantages


def test_scaling_by_hand() -> None:
    advantages, returns = np.array([3.0, -1.0, 1.0, 1.0]), np.ones(4, np.float32)
    assert scale_advantages(advantages, returns, "none") is advantages
    rms = scale_advantages(advantages, returns, "rms")
    assert rms is not None
    np.testing.assert_allclose(rms, advantages / np.sqrt(3))
    standardised = scale_advantages(advantages, returns, "standardise")
    assert standardised is not None
    np.testing.assert_allclose(standardised, np.array([2, -2, 0, 0]) / np.sqrt(2))


@pytest.mark.parametrize("kind", ["none", "rms", "standardise"])
def test_rounding_noise_is_no_signal(kind: str) -> None:
    returns = np.full(1000, 99.3, np.float32)
    noise = np.random.default_rng(0).normal(scale=5e-6, size=1000)
    assert scale_advantages(noise, returns, kind) is None
    assert scale_advantages(np.zeros(1000), returns, kind) is None
    assert scale_advantages(np.zeros(1000), np.zeros(1000, np.float32), kind) is None
    assert scale_advantages(1000 * noise, returns, kind) is not None


def test_equal_advantages_standardised_are_no_signal() -> None:
    assert scale_advantages(np.full(7, 0.1), np.full(7, 0.1, np.float32), "standardise") is None


def test_discount_weights_by_hand() -> None:
    assert discount_weights(0.5, np.array([3, 1, 2], np.int32)).tolist() == [1, 0.5, 0.25, 1, 1, 0.5]
    assert discount_weights(1, np.array([2], np.int32)).tolist() == [1, 1]
    assert discount_weights(0, np.array([3], np.int32)).tolist() == [1, 0, 0]
