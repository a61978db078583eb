import numpy as np
import pytest
import torch

from distpg.core.policies import softmax
from distpg.learning.policy_gradient import (
    clip_by_norm,
    entropies,
    policy_gradient_loss,
    preference_gradient,
    truncated_ratios,
)

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def loss_of(h: torch.Tensor, actions: torch.Tensor, advantages: torch.Tensor, coef: float) -> torch.Tensor:
    """Of preferences float64[actions, steps]."""
    log_pi = torch.log_softmax(h, dim=0)
    log_probs = log_pi[actions, torch.arange(len(actions))]
    return policy_gradient_loss(log_probs, advantages, 3, coef * entropies(log_pi))


@pytest.fixture
def problem() -> Problem:
    rng = np.random.default_rng(5)
    return (
        torch.tensor(rng.normal(size=(4, 11))),
        torch.tensor(rng.integers(4, size=11)),
        torch.tensor(rng.normal(size=11)),
    )


def test_gradient_is_pi_minus_one_hot_times_advantage(problem: Problem) -> None:
    h, actions, advantages = problem
    gradient = preference_gradient(torch.log_softmax(h, dim=0), actions[None], advantages, 3)
    pi = softmax(h.numpy().T.astype(np.float32)).T
    by_hand = (pi - np.eye(4)[actions].T) * advantages.numpy() / 3
    np.testing.assert_allclose(gradient.numpy(), by_hand, atol=1e-6)


@pytest.mark.parametrize("coef", [0.0, 0.3])
def test_gradient_against_autograd(problem: Problem, coef: float) -> None:
    h, actions, advantages = problem
    (expected,) = torch.autograd.grad(loss_of(h.requires_grad_(), actions, advantages, coef), h)
    log_pi = torch.log_softmax(h.detach(), dim=0)
    gradient = preference_gradient(log_pi, actions[None], advantages, 3, coef)
    np.testing.assert_allclose(gradient.numpy(), expected.numpy(), atol=1e-14)


@pytest.mark.parametrize("coef", [0.0, 0.3])
def test_gradient_against_finite_differences(problem: Problem, coef: float) -> None:
    h, actions, advantages = problem
    gradient = preference_gradient(torch.log_softmax(h, dim=0), actions[None], advantages, 3, coef)
    step = 1e-6
    for index in np.ndindex(tuple(h.shape)):
        up, down = h.clone(), h.clone()
        up[index] += step
        down[index] -= step
        difference = loss_of(up, actions, advantages, coef) - loss_of(down, actions, advantages, coef)
        assert float(difference) / (2 * step) == pytest.approx(float(gradient[index]), abs=1e-7)


def test_entropies_by_hand() -> None:
    log_pi = torch.log(torch.tensor([[0.5, 1.0, 0.25], [0.5, 1e-30, 0.75]]))
    expected = [np.log(2), 0, 0.25 * np.log(4) + 0.75 * np.log(4 / 3)]
    np.testing.assert_allclose(entropies(log_pi).numpy(), expected, atol=1e-6)


def test_truncated_ratios_by_hand() -> None:
    now, then = np.log([0.5, 0.25, 0.9, 0.2]), np.log([0.25, 0.5, 0.3, 0.2])
    for limit, expected in ((1.0, [1, 0.5, 1, 1]), (2.5, [2, 0.5, 2.5, 1]), (0.4, [0.4, 0.4, 0.4, 0.4])):
        ratios = truncated_ratios(torch.tensor(now), torch.tensor(then), limit)
        np.testing.assert_allclose(ratios.numpy(), expected)


def test_ratios_beyond_all_numbers_are_cut() -> None:
    now = torch.tensor([-0.1, -1e4, 0.0, -3e38, -5.0])
    then = torch.tensor([-1e4, -0.1, -float("inf"), -1.0, -5.0])
    assert truncated_ratios(now, then, 1.5).tolist() == [1.5, 0, 1.5, 0, 1]


def test_loss_by_hand() -> None:
    log_probs = torch.log(torch.tensor([0.5, 0.25, 0.125]))
    # -(2 ln 1/2 + 4 ln 1/4 - 1 ln 1/8) / 2 episodes = (2 + 8 - 3) ln 2 / 2
    loss = policy_gradient_loss(log_probs, torch.tensor([2.0, 4.0, -1.0]), 2)
    assert float(loss) == pytest.approx(3.5 * np.log(2))


def test_entropy_is_added_to_each_step() -> None:
    # (ln 2 * 3 + 0.7 + 0.1) / 2, with the sign turned
    loss = policy_gradient_loss(
        torch.log(torch.tensor([2.0, 2.0])), torch.tensor([1.0, 2.0]), 2, torch.tensor([0.7, 0.1])
    )
    assert float(loss) == pytest.approx(-(3 * np.log(2) + 0.8) / 2)


def test_clipping_by_hand() -> None:
    gradient = torch.tensor([3.0, 4.0])
    assert clip_by_norm(gradient, 5.0, 2.5).tolist() == [1.5, 2.0]
    assert clip_by_norm(gradient, 5.0, 5.0) is gradient
    assert clip_by_norm(gradient, 5.0, None) is gradient
