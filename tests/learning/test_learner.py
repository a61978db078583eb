import dataclasses

import numpy as np
import pytest

from distpg.config.files import preset
from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, softmax, weights_digest
from distpg.errors import DivergenceError
from distpg.learning.learner import Learner
from distpg.training.prepare import policy_spec
from tests.conftest import make_batch, plain_env

LINEAR = PolicySpec(3, (2,), ())


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
        assert gradient.flat is not None
        g = gradient.flat[-2:].numpy().astype(float)
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
    assert gradient.flat is None
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
    assert weighted.flat is not None
    assert plain.flat is not None
    np.testing.assert_allclose(weighted.flat.numpy(), plain.flat.numpy(), atol=1e-6)


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
    spec = policy_spec(config, plain_env(4, 2))
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
        assert gradient.flat is not None
        summed = dataclasses.replace(gradient, flat=4 * gradient.flat)
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
    here = learner(optimiser="sgd", lr=1e38, max_kl=None)
    here.update(make_batch([30, 20]))
    with pytest.raises(DivergenceError, match="is not finite in iteration 2"):
        here.update(make_batch([30, 20], seed=1))
    with pytest.raises(DivergenceError, match="is not finite in iteration 1"):
        learner(optimiser="sgd", lr=1e38, max_kl=0.05).update(make_batch([30, 20]))


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e6])
def test_normalised_returns_of_any_size_are_learnt_from_and_equal_ones_are_not(size: float) -> None:
    here = learner(normalise_returns="running", baseline="batch")
    for seed in range(3):
        batch = make_batch([30, 20], seed=seed)
        returns = (batch.returns * size).astype(np.float32)
        gradient = here.update(dataclasses.replace(batch, returns=returns))
        assert not gradient.is_noise
        assert gradient.return_variance == pytest.approx(returns.astype(float).var())
    equal = np.full(batch.num_steps, size, np.float32)
    assert here.update(dataclasses.replace(batch, returns=equal)).is_noise


def lagged_batch(differences: list[float], here: Learner, seed: int = 0) -> EpisodeBatch:
    """Of two episodes that older weights played: log pi_now - log pi_then is as given."""
    batch = make_batch([len(differences) - 2, 2], seed=seed)
    log_pi = np.log(probabilities(here, batch))[np.arange(batch.num_steps), batch.actions]
    return dataclasses.replace(
        batch,
        log_probs=(log_pi - differences).astype(np.float32),
        weights_seq_no=here.weights_seq_no - 1,
    )


def probabilities(here: Learner, batch: EpisodeBatch) -> np.ndarray:
    w, b = (array.astype(np.float64) for array in here.weights.values())
    e = np.exp(batch.observations @ w.T + b)
    return e / e.sum(axis=1, keepdims=True)


def slow_lagged(here: Learner, batch: EpisodeBatch, clip: float, coef: float) -> tuple[float, np.ndarray]:
    """Loss and gradient by the weights, step by step; the ratio is no function of the weights."""
    loss, by_weight = 0.0, np.zeros((2, 3))
    pi = probabilities(here, batch)
    assert batch.log_probs is not None
    for t in range(batch.num_steps):
        action = int(batch.actions[t])
        ratio = min(clip, np.exp(min(700.0, np.log(pi[t, action]) - float(batch.log_probs[t]))))
        coefficient = float(batch.returns[t]) * ratio
        entropy = -sum(p * np.log(p) for p in pi[t])
        loss -= (coefficient * np.log(pi[t, action]) + coef * entropy) / batch.num_episodes
        for k in range(2):
            by_h = coefficient * ((k == action) - pi[t, k]) - coef * pi[t, k] * (np.log(pi[t, k]) + entropy)
            by_weight[k] -= by_h * batch.observations[t].astype(np.float64) / batch.num_episodes
    return loss, by_weight


@pytest.mark.parametrize("clip", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("coef", [0.0, 0.2])
@pytest.mark.parametrize(
    "differences",
    [
        [0, 0.1, -0.1, 1, -1, 2, -2, 0.5],
        [0, 100, -100, 1000, -1000, 80, -80, 5],
        [0, 3e38, -3e38, 1e30, -1e30, 0, 0, 0],
    ],
    ids=["usual", "far", "extreme"],
)
def test_lagged_loss_and_gradient_against_a_slow_loop(
    clip: float, coef: float, differences: list[float]
) -> None:
    here = learner(ratio_clip=clip, entropy_coef=coef, policy_lag=1)
    here.weights_seq_no = 7
    batch = lagged_batch(differences, here)
    gradient = here.gradient(batch)
    loss, by_weight = slow_lagged(here, batch, clip, coef)
    assert gradient.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert gradient.flat is not None
    np.testing.assert_allclose(gradient.flat[:6].numpy(), by_weight.ravel(), atol=1e-5)


def test_the_ratio_comes_after_normalisation() -> None:
    here = learner(normalise_advantages="standardise", policy_lag=2)
    here.weights_seq_no = 2
    batch = lagged_batch([0, -0.5, 0.5, -1, 0.2, -3], here)
    scaled = (batch.returns - batch.returns.mean(dtype=np.float64)) / batch.returns.std(dtype=np.float64)
    plain = learner(policy_lag=2)
    plain.weights_seq_no = 2
    as_returns = plain.gradient(dataclasses.replace(batch, returns=scaled.astype(np.float32)))
    assert here.gradient(batch).loss == pytest.approx(as_returns.loss, rel=1e-5)


def test_weights_that_learn_from_their_own_batch_need_no_ratio() -> None:
    here = learner(policy_lag=1)
    batch = make_batch([3, 2])
    wrong = dataclasses.replace(batch, log_probs=np.full(5, -9, np.float32))
    found, expected = here.gradient(wrong), here.gradient(batch)
    assert found.flat is not None
    assert expected.flat is not None
    assert (found.loss, found.flat.tolist()) == (expected.loss, expected.flat.tolist())
    older = here.gradient(dataclasses.replace(wrong, log_probs=-9 + wrong.log_probs, weights_seq_no=-1))
    assert older.loss == expected.loss, "more likely now, so cut to a ratio of 1"
    older = here.gradient(dataclasses.replace(wrong, log_probs=np.zeros(5, np.float32), weights_seq_no=-1))
    assert older.loss != expected.loss


def test_a_lagged_batch_needs_log_probabilities() -> None:
    here = learner(policy_lag=1)
    here.update(make_batch([3, 2]))
    with pytest.raises(ValueError, match="log-probabilities"):
        here.update(make_batch([3, 2]))


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "mlp"},
        {"policy": "polynomial", "entropy_coef": 0.1},
        {"policy": "mlp", "baseline": "value"},
    ],
    ids=str,
)
def test_neither_threads_nor_alignment_change_a_bit(options: dict) -> None:
    digests = set()
    # In bytes: NumPy aligns to 16 and torch to 64; bytes that came from elsewhere may lie anywhere.
    for threads, offset in ((1, 0), (2, 0), (3, 4), (1, 4), (1, 12), (1, 36), (1, 1)):
        config = TrainConfig(learner_threads=threads, hidden_sizes=(16,), **options)
        here = Learner(config, policy_spec(config, plain_env(3, 2)))
        for seed in range(3):
            batch = make_batch([700, 1, 1300, 400, 2000], seed=seed)
            here.update(
                dataclasses.replace(
                    batch,
                    observations=moved(batch.observations, offset),
                    returns=moved(batch.returns, offset),
                    actions=moved(batch.actions, offset),
                    lengths=moved(batch.lengths, offset),
                    log_probs=moved(np.full(4401, -0.7, np.float32), offset),
                )
            )
        digests.add(weights_digest(here.weights))
    assert len(digests) == 1


def moved(array: np.ndarray, offset: int) -> np.ndarray:
    """A copy whose memory begins so many bytes after a multiple of 64."""
    memory = np.empty(array.nbytes + 64 + offset, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    assert copy.ctypes.data % 64 == offset
    return copy


def test_returns_are_divided_by_the_deviation_of_those_before() -> None:
    usual: dict = {"normalise_advantages": "none", "optimiser": "sgd", "lr": 1e-9, "hidden_sizes": (4,)}
    plain, scaled = TrainConfig(**usual), TrainConfig(**usual, normalise_returns="running")
    learners = [Learner(one, policy_spec(one, plain_env(3, 2))) for one in (plain, scaled)]
    first, second = make_batch([5, 9], seed=1), make_batch([7, 4], seed=2)
    one, other = (learner.update(first) for learner in learners)
    assert one.norm == pytest.approx(other.norm), "nothing is known yet"
    one, other = (learner.update(second) for learner in learners)
    assert other.norm == pytest.approx(one.norm / first.returns.std(), rel=1e-5)
    again = Learner(scaled, policy_spec(scaled, plain_env(3, 2)))
    again.restore(learners[1].state)
    assert again.gradient(first).norm == learners[1].gradient(first).norm
