"""Distributions against torch's own, and their derivatives against autograd in float64."""

import numpy as np
import pytest
import torch
from torch import distributions as reference

from distpg.core.policies import PolicySpec
from distpg.learning.distributions import distribution
from distpg.learning.policy_gradient import policy_gradient_loss

N = 9
CATEGORIES = PolicySpec(1, (3, 4))
SPECS = {
    "one": PolicySpec(1, (4,)),
    "several": CATEGORIES,
    "masked": CATEGORIES,
    "normal": PolicySpec(1, (1, 1, 1), distribution="normal"),
    "tanh-normal": PolicySpec(1, (1, 1, 1), distribution="tanh-normal"),
}


def problem(name: str) -> tuple[PolicySpec, torch.Tensor, np.ndarray, np.ndarray | None]:
    spec, rng = SPECS[name], np.random.default_rng(3)
    count = sum(spec.action_sizes) * (1 if spec.is_categorical else 2)
    outputs = torch.tensor(rng.normal(size=(count, N)))
    masks = None
    if not spec.is_categorical:
        actions = rng.normal(size=(N, 3)).astype(np.float32)
    elif name == "one":
        actions = rng.integers(4, size=N).astype(np.uint8)
    else:
        actions = np.stack([rng.integers(3, size=N), rng.integers(4, size=N)], axis=1).astype(np.uint8)
    if name == "masked":
        masks = rng.random((N, count)) < 0.4
        masks[np.arange(N), actions[:, 0]] = masks[np.arange(N), 3 + actions[:, 1].astype(int)] = True
    return spec, outputs, actions, masks


def expected(
    name: str, outputs: torch.Tensor, actions: np.ndarray, masks: np.ndarray | None
) -> tuple[torch.Tensor, torch.Tensor, list[reference.Distribution]]:
    """Log-probabilities and entropies [N], by torch."""
    spec, chosen = SPECS[name], torch.tensor(actions.reshape(N, -1).astype(np.float64))
    if spec.is_categorical:
        if masks is not None:
            outputs = outputs.masked_fill(torch.tensor(~masks).T, -1e9)
        parts = [reference.Categorical(logits=h.T) for h in torch.split(outputs, list(spec.action_sizes))]
        log_probs = torch.stack([part.log_prob(a) for part, a in zip(parts, chosen.T, strict=True)]).sum(0)
        return log_probs, torch.stack([part.entropy() for part in parts]).sum(0), list(parts)
    mean, log_deviation = outputs.chunk(2)
    normal = reference.Normal(mean.T, log_deviation.T.exp())
    log_probs = normal.log_prob(chosen)
    if name == "tanh-normal":
        log_probs = log_probs - torch.log(1 - torch.tanh(chosen) ** 2)
    return log_probs.sum(1), normal.entropy().sum(1), [normal]


@pytest.mark.parametrize("name", SPECS)
def test_log_probabilities_and_entropies(name: str) -> None:
    spec, outputs, actions, masks = problem(name)
    found = distribution(spec, outputs, masks)
    log_probs, entropies, _ = expected(name, outputs, actions, masks)
    np.testing.assert_allclose(found.log_probs(actions).numpy(), log_probs.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.entropies.numpy(), entropies.numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", SPECS)
def test_divergences(name: str) -> None:
    spec, outputs, actions, masks = problem(name)
    moved = outputs + 0.1 * torch.tensor(np.random.default_rng(4).normal(size=outputs.shape))
    one, other = (distribution(spec, h, masks) for h in (outputs, moved))
    pairs = zip(*(expected(name, h, actions, masks)[2] for h in (outputs, moved)), strict=True)
    exact = sum(reference.kl_divergence(*pair).reshape(N, -1).sum(1) for pair in pairs)
    np.testing.assert_allclose(one.divergences(other).numpy(), exact.numpy(), rtol=1e-8, atol=1e-12)
    assert one.divergences(one).abs().max() == 0


@pytest.mark.parametrize("coef", [0.0, 0.3])
@pytest.mark.parametrize("name", SPECS)
def test_derivatives_are_those_of_the_loss(name: str, coef: float) -> None:
    spec, outputs, actions, masks = problem(name)
    advantages = torch.tensor(np.random.default_rng(6).normal(size=N))
    outputs.requires_grad_()
    log_probs, entropies, _ = expected(name, outputs, actions, masks)
    loss = policy_gradient_loss(log_probs, advantages, 3, coef * entropies)
    (exact,) = torch.autograd.grad(loss, outputs)
    found = distribution(spec, outputs.detach(), masks).gradient(actions, advantages, 3, coef)
    np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=1e-6, atol=1e-12)
    if masks is not None:
        assert found.T[torch.tensor(~masks)].abs().max() == 0
