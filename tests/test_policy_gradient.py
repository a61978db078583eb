import numpy as np
import pytest
import torch

from distpg.policies import softmax
from distpg.policy_gradient import (
    clip_by_norm,
    discount_weights,
    policy_gradient_loss,
    scale_advantages,
)


def loss_of(h: torch.Tensor, actions: np.ndarray, advantages: np.ndarray) -> torch.Tensor:
    log_probs = torch.log_softmax(h, dim=1)[torch.arange(len(actions)), torch.tensor(actions)]
    return policy_gradient_loss(log_probs, torch.tensor(advantages), 3)


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(11, 4)), rng.integers(4, size=11), rng.normal(size=11)


def test_gradient_is_one_hot_minus_pi_times_advantage(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    preferences, actions, advantages = problem
    h = torch.tensor(preferences, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(h, actions, advantages), h)
    pi = softmax(preferences.astype(np.float32))
    by_hand = -(np.eye(4)[actions] - pi) * advantages[:, None] / 3
    np.testing.assert_allclose(gradient.numpy(), by_hand, atol=1e-6)


def test_gradient_against_finite_differences(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    preferences, actions, advantages = problem
    h = torch.tensor(preferences, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(h, actions, advantages), h)
    step = 1e-6
    for index in np.ndindex(preferences.shape):
        up, down = preferences.copy(), preferences.copy()
        up[index] += step
        down[index] -= step
        difference = loss_of(torch.tensor(up), actions, advantages) - loss_of(
            torch.tensor(down), actions, advantages
        )
        assert float(difference) / (2 * step) == pytest.approx(float(gradient[index]), abs=1e-7)


def test_loss_by_hand() -> None:
    log_probs = torch.log(torch.tensor([0.5, 0.25, 0.125]))
    # -(2 ln 1/2 + 4 ln 1/4 - 1 ln 1/8) / 2 episodes = (2 + 8 - 3) ln 2 / 2
    loss = policy_gradient_loss(log_probs, torch.tensor([2.0, 4.0, -1.0]), 2)
    assert float(loss) == pytest.approx(3.5 * np.log(2))


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


def test_entropy_is_added_to_each_step() -> None:
    # (ln 2 * 3 + 0.7 + 0.1) / 2, with the sign turned
    loss = policy_gradient_loss(
        torch.log(torch.tensor([2.0, 2.0])), torch.tensor([1.0, 2.0]), 2, torch.tensor([0.7, 0.1])
    )
    assert float(loss) == pytest.approx(-(3 * np.log(2) + 0.8) / 2)


def test_clipping_by_hand() -> None:
    gradients = {"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}
    clipped = clip_by_norm(gradients, 5.0, 2.5)
    assert [float(g) for g in clipped.values()] == [1.5, 2.0]
    assert clip_by_norm(gradients, 5.0, 5.0) == gradients
    assert clip_by_norm(gradients, 5.0, None) == gradients
