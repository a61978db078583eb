import dataclasses

import numpy as np
import pytest

from distpg.config import TrainConfig
from distpg.learner import Learner
from distpg.policies import PolicySpec, softmax
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
