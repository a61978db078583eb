"""The gradient estimators against the exact gradient of a small MDP, by enumeration of all trajectories.

The MDP: three states, two actions, one to three steps. Action 0 goes to the next state, action 1 ends the
episode or goes to the last state, by a coin; rewards depend on state and action. Every pair of trajectories
(two episodes an iteration) is given to the learner, and its gradients are averaged with the pairs' exact
probabilities.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec
from distpg.core.returns import discounted_returns
from distpg.learning.learner import Learner

STATES = np.eye(3, dtype=np.float32)
HORIZON = 3
REWARDS = np.array([[1.0, 3.0], [0.5, -1.0], [2.0, 0.25]])


@dataclass(frozen=True)
class Trajectory:
    states: tuple[int, ...]
    actions: tuple[int, ...]
    chance: float
    """The environment's part of its probability."""


def transitions(state: int, action: int) -> list[tuple[int | None, float]]:
    """Next states, None for the end, with their probabilities."""
    if action == 0:
        return [((state + 1) % 3, 1.0)]
    return [(None, 0.6), (2, 0.4)]


def trajectories() -> list[Trajectory]:
    found = []

    def extend(states: tuple[int, ...], actions: tuple[int, ...], chance: float) -> None:
        for action in (0, 1):
            for following, probability in transitions(states[-1], action):
                taken, p = (*actions, action), chance * probability
                if following is None or len(taken) == HORIZON:
                    found.append(Trajectory(states, taken, p))
                else:
                    extend((*states, following), taken, p)

    extend((0,), (), 1.0)
    return found


ALL = trajectories()


def rewards_of(trajectory: Trajectory) -> np.ndarray:
    return REWARDS[list(trajectory.states), list(trajectory.actions)]


def exact_gradient(learner: Learner, gamma: float) -> np.ndarray:
    """Of J, the expected discounted return, in float64, by autograd over the sum over all trajectories."""
    parameters = [
        torch.tensor(array.astype(np.float64), requires_grad=True) for array in learner.weights.values()
    ]
    weight, bias = parameters
    log_pi = torch.log_softmax(torch.tensor(STATES).double() @ weight.T + bias, dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for t in ALL:
        log_probability = log_pi[list(t.states), list(t.actions)].sum()
        g0 = sum(gamma**k * reward for k, reward in enumerate(rewards_of(t)))
        total = total + t.chance * log_probability.exp() * g0
    return np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(total, parameters)])


def mean_estimate(learner: Learner, config: TrainConfig) -> np.ndarray:
    """Expectation of the learner's gradient over all pairs of trajectories."""
    weights = learner.weights
    h = STATES @ weights["layers.0.weight"].T + weights["layers.0.bias"]
    pi = np.exp(h.astype(np.float64))
    pi /= pi.sum(axis=1, keepdims=True)
    probabilities = [t.chance * pi[list(t.states), list(t.actions)].prod() for t in ALL]
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)
    expectation = 0.0
    for i, j in itertools.combinations_with_replacement(range(len(ALL)), 2):
        gradient = learner.gradient(batch_of([ALL[i], ALL[j]], config)).flat
        if gradient is not None:
            # The order of the two does not matter; the loss's gradient is minus that of J.
            orders = 1 if i == j else 2
            expectation = (
                expectation - orders * probabilities[i] * probabilities[j] * gradient.double().numpy()
            )
    return np.asarray(expectation)


def batch_of(played: list[Trajectory], config: TrainConfig) -> EpisodeBatch:
    lengths = np.array([len(t.actions) for t in played], np.int32)
    rewards = np.concatenate([rewards_of(t) for t in played])
    return EpisodeBatch(
        observations=np.concatenate([STATES[list(t.states)] for t in played]),
        actions=np.concatenate([t.actions for t in played]).astype(np.uint8),
        returns=discounted_returns(rewards, lengths, config.gamma, config.returns).astype(np.float32),
        lengths=lengths,
        episode_ids=np.arange(len(played), dtype=np.int64),
        episode_returns=np.array([rewards_of(t).sum() for t in played]),
        terminated=np.ones(len(played), np.bool_),
        weights_seq_no=0,
    )


def relative_bias(**options: object) -> tuple[float, float]:
    """Of the mean estimate against the exact gradient; also the cosine between them."""
    config = TrainConfig(
        **{
            "policy": "linear",
            "normalise_advantages": "none",
            "hidden_sizes": (4,),
            "seed": 3,
            "episodes_per_iteration": 2,
            **options,
        }
    )
    learner = Learner(config, PolicySpec(3, (2,)))
    if config.baseline == "value":
        # Fixed before the batch: fitted to other episodes, as an earlier iteration's.
        for seed in range(3):
            rng = np.random.default_rng(seed)
            others = batch_of([ALL[i] for i in rng.integers(len(ALL), size=8)], config)
            learner._value.fit(others.observations.__getitem__, others.returns)
    exact, estimate = exact_gradient(learner, config.gamma), mean_estimate(learner, config)
    cosine = exact @ estimate / max(np.linalg.norm(exact) * np.linalg.norm(estimate), 1e-300)
    return float(np.linalg.norm(estimate - exact) / np.linalg.norm(exact)), float(cosine)


UNBIASED_BASELINES = ("none", "batch", "timestep", "value")


@pytest.mark.parametrize("baseline", UNBIASED_BASELINES)
@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 1.0, "returns": "total"},
        {"gamma": 1.0, "returns": "to-go"},
        {"gamma": 0.9, "returns": "total"},
        {"gamma": 0.9, "returns": "to-go", "discount_weighting": True},
    ],
    ids=str,
)
def test_unbiased(baseline: str, options: dict) -> None:
    bias, _ = relative_bias(baseline=baseline, **options)
    assert bias < 1e-6


BIASED = {
    "reward-to-go without gamma^t": ({"baseline": "none", "gamma": 0.9}, 0.01, 0.2),
    "divided by RMS": ({"baseline": "timestep", "gamma": 1.0, "normalise_advantages": "rms"}, 0.1, 1.5),
    "standardised": ({"baseline": "none", "gamma": 1.0, "normalise_advantages": "standardise"}, 0.1, 1.5),
    "episode mean": ({"baseline": "episode", "gamma": 1.0}, 0.1, 1.5),
}


@pytest.mark.parametrize("name", BIASED)
def test_measured_bias(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, low, high = BIASED[name]
    bias, cosine = relative_bias(**options)
    with capsys.disabled():
        print(f"\n{name}: relative bias {bias:.1%}, cosine with the exact gradient {cosine:.4f}")
    assert low < bias < high
    assert cosine > 0.85


def test_episode_mean_of_total_returns_is_nothing_but_zeros() -> None:
    from distpg.learning.baselines import baseline_values

    returns = np.repeat(np.float32([7, -2]), [3, 2])
    assert not np.any(returns - baseline_values("episode", returns, np.array([3, 2], np.int32)))


def test_a_value_function_fitted_to_its_own_batch_would_bias() -> None:
    """Why the learner fits after use: the same estimator with the fit first is far off."""
    config = TrainConfig(baseline="value", policy="linear", normalise_advantages="none", gamma=1.0, seed=3)
    exact = exact_gradient(Learner(config, PolicySpec(3, (2,))), 1.0)
    few = [t for t in ALL if len(t.actions) < 3]  # enough to see it, and quick
    biased, honest = 0.0, 0.0
    for a, b in itertools.product(few, repeat=2):
        batch = batch_of([a, b], config)
        learner = Learner(config, PolicySpec(3, (2,)))
        before = learner.gradient(batch).flat
        learner._value.fit(batch.observations.__getitem__, batch.returns)
        after = learner.gradient(batch).flat
        assert before is not None
        assert after is not None
        honest, biased = honest + before.numpy(), biased + after.numpy()
    assert np.linalg.norm(biased - honest) > 0.05 * np.linalg.norm(exact)
