import math

import numpy as np
import pytest
import torch

from distpg.config.train_config import TrainConfig
from distpg.learning.learner import Learner
from distpg.learning.trust_region import shorten_step
from distpg.training.prepare import policy_spec
from tests.conftest import make_batch, plain_env


def test_a_long_step_is_shortened_in_its_direction() -> None:
    before, weights = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0])
    step = weights - before
    found = shorten_step(weights, before, 0.01, lambda: float((weights - before).square().sum()))
    taken = weights - before
    assert found <= 0.0125
    assert float(taken.square().sum()) > 0.005, "no shorter than it must be"
    torch.testing.assert_close(taken / taken.norm(), step / step.norm())


def test_a_short_step_is_left_as_it_is() -> None:
    before, weights = torch.tensor([1.0]), torch.tensor([1.01])
    assert shorten_step(weights, before, 0.01, lambda: float((weights - before).square())) < 0.01
    assert weights.tolist() == torch.tensor([1.01]).tolist()


def test_where_no_step_is_short_enough_none_is_taken() -> None:
    before, weights = torch.tensor([1.0]), torch.tensor([2.0])
    assert shorten_step(weights, before, 0.01, lambda: 1.0) == 0
    assert weights.tolist() == before.tolist()


@pytest.mark.parametrize("divergence", [math.inf, math.nan])
def test_a_divergence_that_is_none_is_for_the_caller_to_say(divergence: float) -> None:
    before, weights = torch.tensor([1.0]), torch.tensor([2.0])
    assert not math.isfinite(shorten_step(weights, before, 0.01, lambda: divergence))
    assert weights.tolist() == [2.0]


def test_an_update_changes_the_policy_by_no_more_than_is_allowed() -> None:
    env, batch = plain_env(3, 4), make_batch([30, 40], num_actions=4)
    for limit in (1e-4, 1e-2):
        config = TrainConfig(max_kl=limit, lr=0.5, hidden_sizes=(16,), normalise_observations="none")
        learner = Learner(config, policy_spec(config, env))
        before = learner.gradient(batch)
        learner.update(batch)
        divergence = before.divergence(learner.weights)
        assert 0.3 * limit < divergence <= 1.25 * limit
        assert not np.isnan(divergence)
