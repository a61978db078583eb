import dataclasses

import numpy as np
import pytest

from distpg.config import TrainConfig
from distpg.config_files import preset
from distpg.errors import DivergenceError
from distpg.learner import Learner
from distpg.policies import PolicySpec, policy_spec, softmax
from tests.conftest import make_batch

LINEAR = PolicySpec(3, 2, ())


def learner(**options: object) -> Learner:
    defaults = {"normalise_advantages": "none", "baseline": "none", "hidden_sizes": ()}
    return Learner(TrainConfig(**{**defaults, **options}), LINEAR)


def test_one_sgd_step_by_arithmetic() -> None:
    sgd = learner(optimiser="sgd", lr=0.1)
    batch = make_batch([3, 2])
    before = sgd.weights
    w, b = before["layers.0.weight"].astype(float), before["layers.0.bias"].astype(float)
    pi = softmax((batch.observations @ w.T + b).astype(np.float32))
    # d loss / d h = -(one-hot - pi) * G / episodes; the layer is linear in its weights.
    d_h = -(np.eye(2)[batch.actions] - pi) * batch.returns[:, None] / 2
    gradient = sgd.update(batch)
    np.testing.assert_allclose(
        sgd.weights["layers.0.weight"], w - 0.1 * d_h.T @ batch.observations, atol=1e-6
    )
    np.testing.assert_allclose(sgd.weights["layers.0.bias"], b - 0.1 * d_h.sum(axis=0), atol=1e-6)
    norm = np.sqrt(np.square(d_h.T @ batch.observations).sum() + np.square(d_h.sum(axis=0)).sum())
    assert gradient.norm == pytest.approx(norm, rel=1e-5)
    assert gradient.loss == pytest.approx(
        -np.sum(np.log(pi[np.arange(5), batch.actions]) * batch.returns) / 2, rel=1e-5
    )
    assert sgd.weights_seq_no == 1


def test_two_adam_steps_by_arithmetic() -> None:
    adam = learner(optimiser="adam", lr=0.01)
    m = v = np.zeros(2)
    expected = adam.weights["layers.0.bias"].astype(float)
    for t in (1, 2):
        gradient = adam.gradient(make_batch([3, 2], seed=t))
        assert gradient.values is not None
        g = gradient.values["layers.0.bias"].numpy().astype(float)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        adam.step(gradient)
    np.testing.assert_allclose(adam.weights["layers.0.bias"], expected, atol=1e-7)


def test_a_step_raises_the_probability_of_what_paid() -> None:
    batch = make_batch([8])
    rewarded = dataclasses.replace(batch, returns=np.ones(8, np.float32), actions=np.ones(8, np.uint8))
    ascending = learner(lr=0.01)
    losses = [ascending.update(rewarded).loss for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("normalisation", ["none", "rms", "standardise"])
def test_no_step_when_every_episode_did_equally_well(normalisation: str) -> None:
    batch = make_batch([500, 500, 500, 500])
    returns = np.tile(np.linspace(99.3, 1, 500), 4).astype(np.float32)
    top = learner(baseline="timestep", normalise_advantages=normalisation)
    before = top.weights
    gradient = top.update(dataclasses.replace(batch, returns=returns))
    assert gradient.values is None
    assert (gradient.loss, gradient.norm) == (0, 0)
    assert all(np.array_equal(array, before[name]) for name, array in top.weights.items())
    assert top.weights_seq_no == 1


def test_variances_are_of_what_is_not_yet_normalised() -> None:
    batch = make_batch([4, 4])
    gradient = learner(baseline="timestep", normalise_advantages="rms").gradient(batch)
    assert gradient.return_variance == pytest.approx(np.var(batch.returns), rel=1e-6)
    advantages = batch.returns - np.roll(batch.returns, 4)
    assert gradient.advantage_variance == pytest.approx(np.var(advantages), rel=1e-6)


def test_weights_are_a_copy() -> None:
    here = learner()
    here.weights["layers.0.bias"][:] = 7
    assert not np.any(here.weights["layers.0.bias"] == 7)


def test_the_value_function_is_fitted_after_it_was_used() -> None:
    value = learner(baseline="value")
    batch = make_batch([3, 2])
    first = value.gradient(batch)
    used = value.update(batch)
    assert used.advantage_variance == first.advantage_variance
    assert value.gradient(batch).advantage_variance != first.advantage_variance


def test_entropy_alone_moves_the_policy_towards_uniform() -> None:
    batch = make_batch([50])
    nothing_to_learn = dataclasses.replace(batch, returns=np.zeros(50, np.float32))
    bonus = learner(entropy_coef=0.1, optimiser="sgd", lr=0.5)
    entropies = [bonus.update(nothing_to_learn).policy_entropy for _ in range(30)]
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0]


def test_clipped_steps_have_the_norm_asked_for() -> None:
    clipped = learner(optimiser="sgd", lr=1.0, max_grad_norm=0.01)
    before = clipped.weights
    gradient = clipped.update(make_batch([30, 20]))
    assert gradient.norm > 0.01, "the norm before clipping is reported"
    change = np.concatenate([(clipped.weights[name] - before[name]).ravel() for name in before])
    assert np.linalg.norm(change) == pytest.approx(0.01, rel=1e-3)


def test_gamma_to_the_t_scales_each_step() -> None:
    options: dict = {"gamma": 0.5, "discount_weighting": True}
    batch = make_batch([3, 2])
    discounted = dataclasses.replace(
        batch, returns=batch.returns * np.float32([1, 0.5, 0.25, 1, 0.5]).astype(np.float32)
    )
    weighted, plain = learner(**options).gradient(batch), learner(gamma=0.5).gradient(discounted)
    assert weighted.values is not None
    assert plain.values is not None
    for name, values in weighted.values.items():
        np.testing.assert_allclose(values.numpy(), plain.values[name].numpy(), atol=1e-6)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("baseline", ["timestep", "value"])
def test_restored_it_goes_on_bit_for_bit(optimiser: str, baseline: str) -> None:
    first, second = (learner(optimiser=optimiser, baseline=baseline) for _ in range(2))
    first.update(make_batch([3, 2], seed=1))
    second.restore(first.state)
    for seed in (2, 3):
        for here in (first, second):
            here.update(make_batch([4, 1], seed=seed))
    assert {name: a.tobytes() for name, a in first.weights.items()} == {
        name: a.tobytes() for name, a in second.weights.items()
    }
    assert first.weights_seq_no == second.weights_seq_no == 3


def test_a_state_is_a_copy() -> None:
    here = learner(optimiser="adam", baseline="value")
    here.update(make_batch([3, 2]))
    state = here.state
    before = {name: array.copy() for name, array in {**state.weights, **state.optimiser}.items()}
    here.update(make_batch([2, 2]))
    assert all(
        np.array_equal(array, before[name]) for name, array in {**state.weights, **state.optimiser}.items()
    )


def test_the_articles_summed_loss_to_the_last_bit() -> None:
    """Its loss is a sum over four episodes; under Adam the preset makes the very same steps."""
    import torch

    config = preset("article")
    spec = policy_spec(config, 4, 2)
    ours = Learner(config, spec)
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2))
    with torch.no_grad():
        for parameter, array in zip(theirs.parameters(), ours.weights.values(), strict=True):
            parameter.copy_(torch.tensor(array))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, foreach=False)
    for seed in range(5):
        batch = make_batch([30, 12, 7, 20], seed=seed, observation_size=4)
        log_pi = torch.log_softmax(theirs(torch.tensor(batch.observations)), dim=1)
        chosen = log_pi.gather(1, torch.tensor(batch.actions.astype(np.int64))[:, None])[:, 0]
        adam.zero_grad()
        (-chosen * torch.tensor(batch.returns)).sum().backward()
        adam.step()
        ours.update(batch)
    for parameter, array in zip(theirs.parameters(), ours.weights.values(), strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), array, rtol=0, atol=1e-6)
    by_hand = Learner(dataclasses.replace(config, adam_eps=1e-8), spec)
    for seed in range(5):
        batch = make_batch([30, 12, 7, 20], seed=seed, observation_size=4)
        gradient = by_hand.gradient(batch)
        assert gradient.values is not None
        summed = dataclasses.replace(gradient, values={k: 4 * v for k, v in gradient.values.items()})
        by_hand.step(summed, 0.01)
    assert {name: a.tobytes() for name, a in by_hand.weights.items()} == {
        name: a.tobytes() for name, a in ours.weights.items()
    }


@pytest.mark.parametrize("baseline", ["none", "value"])
def test_what_is_not_finite_is_said_before_anyone_uses_it(baseline: str) -> None:
    here = learner(baseline=baseline, optimiser="sgd", lr=1.0)
    batch = make_batch([3, 2])
    huge = dataclasses.replace(batch, returns=np.full(5, 3e38, np.float32))
    with pytest.raises(DivergenceError, match="is not finite in iteration 1"):
        here.update(huge)


def test_weights_that_overflow_are_noticed() -> None:
    here = learner(optimiser="sgd", lr=1e38)
    here.update(make_batch([30, 20]))
    with pytest.raises(DivergenceError, match="is not finite in iteration 2"):
        here.update(make_batch([30, 20], seed=1))
