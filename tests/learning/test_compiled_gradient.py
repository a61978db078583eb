"""The compiled gradient against torch's autograd in float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights, features, not_learnt, num_layers, preferences
from distpg.core.policies import normalised as scaled
from distpg.kernels.elementary import log
from distpg.learning.compiled_gradient import CompiledGradient
from distpg.learning.learner import Learner

POLICIES = {
    "one hidden layer": PolicySpec(4, (2,), (128,)),
    "three actions": PolicySpec(6, (3,), (96,)),
    "many actions": PolicySpec(3, (18,), (40,)),
    "linear": PolicySpec(4, (2,)),
    "polynomial": PolicySpec(4, (3,), (), 3),
    "more inputs than a block": PolicySpec(70, (2,), (64,)),
    "two hidden layers": PolicySpec(5, (4,), (100, 70)),
    "moments": PolicySpec(4, (2,), (32,), normalisation="running"),
}


def weights_of(spec: PolicySpec) -> Weights:
    weights, random = spec.initial_weights(3), np.random.default_rng(5)
    if spec.normalisation == "running":
        weights["observations.mean"] = random.normal(size=spec.observation_size).astype(np.float32)
        weights["observations.scale"] = random.uniform(0.5, 20, spec.observation_size).astype(np.float32)
    return weights


def steps(spec: PolicySpec, count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    random = np.random.default_rng(count)
    return (
        random.normal(size=(count, spec.observation_size)).astype(np.float32),
        random.integers(0, spec.action_sizes[0], count).astype(np.uint8),
        random.normal(size=count).astype(np.float32),
    )


def log_pi(spec: PolicySpec, weights: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    layers = {name: tensor for name, tensor in weights.items() if not not_learnt(name)}
    h = inputs
    for layer in range(num_layers(layers)):
        h = h @ layers[f"layers.{layer}.weight"].T + layers[f"layers.{layer}.bias"]
        h = torch.relu(h) if layer < num_layers(layers) - 1 else h
    return torch.log_softmax(h, dim=1)


def inputs_of(spec: PolicySpec, weights: Weights, observations: NDArray[np.float32]) -> torch.Tensor:
    return torch.tensor(features(scaled(observations, weights), spec.degree), dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 31, 300, 5001])
@pytest.mark.parametrize("name", POLICIES)
def test_gradient_loss_and_entropy_are_those_of_autograd(name: str, count: int) -> None:
    spec = POLICIES[name]
    weights = weights_of(spec)
    observations, actions, step_weights = steps(spec, count)
    then = np.random.default_rng(1).uniform(-3, -0.1, count).astype(np.float32)
    for coef, log_probs_then in ((0.0, None), (0.1, None), (0.1, then)):
        flat, loss, entropy, _ = CompiledGradient(spec).differentiate(
            weights, observations, actions, step_weights, coef, log_probs_then, 1.5
        )
        tensors = {
            key: torch.tensor(array, dtype=torch.float64, requires_grad=not not_learnt(key))
            for key, array in weights.items()
        }
        log_probs = log_pi(spec, tensors, inputs_of(spec, weights, observations))
        chosen = log_probs.gather(1, torch.tensor(actions.astype(np.int64))[:, None])[:, 0]
        factors = torch.tensor(step_weights, dtype=torch.float64)
        if log_probs_then is not None:
            factors = factors * torch.exp(chosen.detach() - torch.tensor(log_probs_then)).clamp(max=1.5)
        entropies = -(log_probs.exp() * log_probs).sum(dim=1)
        expected = -(chosen * factors + coef * entropies).sum()
        expected.backward()
        gradient = np.concatenate([t.grad.flatten() for t in tensors.values() if t.grad is not None])
        assert np.linalg.norm(flat - gradient) <= 1e-6 * np.linalg.norm(gradient)
        assert loss == pytest.approx(expected.item(), rel=1e-6, abs=1e-6 * count)
        assert entropy == pytest.approx(entropies.sum().item(), rel=1e-6)


@pytest.mark.parametrize("name", POLICIES)
def test_divergence_is_that_of_its_definition(name: str) -> None:
    spec = POLICIES[name]
    before, random = weights_of(spec), np.random.default_rng(0)
    after = {
        key: array if not_learnt(key) else array + random.normal(0, 0.1, array.shape).astype(np.float32)
        for key, array in before.items()
    }
    observations, *_ = steps(spec, 333)
    one, other = (
        log_pi(
            spec,
            {key: torch.tensor(array, dtype=torch.float64) for key, array in weights.items()},
            inputs_of(spec, weights, observations),
        )
        for weights in (before, after)
    )
    expected = (one.exp() * (one - other)).sum().item()
    gradient = CompiledGradient(spec)
    preferred = gradient.preferences(before, observations)
    found = gradient.divergence(preferred, after, observations)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert gradient.divergence(preferred, before, observations) == 0


def test_steps_after_the_last_chunk_of_an_earlier_call_count_nothing() -> None:
    spec = POLICIES["one hidden layer"]
    gradient, weights = CompiledGradient(spec), weights_of(spec)
    few = steps(spec, 3)
    expected, *_ = CompiledGradient(spec).differentiate(weights, *few)
    gradient.differentiate(weights, *steps(spec, 1000))
    found, *_, preferred = gradient.differentiate(weights, *few)
    assert found.tobytes() == expected.tobytes()
    assert preferred.tobytes() == gradient.preferences(weights, few[0]).tobytes()


def batch_of(spec: PolicySpec, weights: Weights) -> EpisodeBatch:
    lengths = np.array([40, 7, 300, 1], np.int32)
    observations, actions, returns = steps(spec, int(lengths.sum()))
    chosen = preferences(weights, features(scaled(observations, weights), spec.degree))
    log_probs = torch.log_softmax(torch.tensor(chosen), dim=1).numpy()
    return EpisodeBatch(
        observations,
        actions,
        returns,
        lengths,
        np.arange(4),
        np.zeros(4),
        np.ones(4, np.bool_),
        0,
        log_probs=log_probs[np.arange(len(actions)), actions],
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"baseline": "none", "normalise_advantages": "standardise", "max_kl": None, "entropy_coef": 0.02},
        {"baseline": "batch", "discount_weighting": True, "max_grad_norm": 0.5, "max_kl": 1e-4},
        {"policy_lag": 2, "ratio_clip": 1.2},
    ],
)
def test_a_learner_learns_the_same_with_either(options: dict[str, object]) -> None:
    spec = POLICIES["moments"]
    both = [
        Learner(TrainConfig(sampler=sampler, hidden_sizes=(32,), **options), spec)  # type: ignore[arg-type]
        for sampler in ("gymnasium", "compiled")
    ]
    for _ in range(3):
        batch = batch_of(spec, both[0].weights)
        by_torch, compiled = (learner.update(batch) for learner in both)
        assert compiled.norm == pytest.approx(by_torch.norm, rel=1e-5)
        assert compiled.policy_entropy == pytest.approx(by_torch.policy_entropy, rel=1e-5)
    for name, array in both[0].weights.items():
        assert both[1].weights[name] == pytest.approx(array, abs=2e-5)


def test_logarithm_of_any_number_from_1_on() -> None:
    x = np.float32(np.geomspace(1, 3e38, 20_000))
    x = np.concatenate([x, np.nextafter(np.float32(2.0 ** np.arange(1, 100)), np.float32(0))])
    exact = np.log(x.astype(np.float64))
    assert max(abs(log(one) - two) / max(two, 1) for one, two in zip(x, exact, strict=True)) < 3e-7
