import itertools

import numpy as np
import pytest
import torch

from distpg.config.train_config import TrainConfig
from distpg.core.policies import initial_weights
from distpg.errors import ConfigError
from distpg.learning.network import Network, views
from distpg.learning.optimisers import Optimiser
from distpg.learning.schedules import learning_rate


def test_adam_against_torchs() -> None:
    network = Network(initial_weights((3, 8, 2), seed=0))
    theirs = [torch.tensor(array).requires_grad_() for array in network.weights.values()]
    adam, ours = torch.optim.Adam(theirs, lr=0.1, foreach=False), Optimiser("adam", network)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 31):
        flat = torch.randn(len(network.flat), generator=generator)
        for parameter, gradient in zip(theirs, views(flat, network.shapes).values(), strict=True):
            parameter.grad = gradient
        adam.step()
        ours.step(flat, 0.1)
        for parameter, array in zip(theirs, network.weights.values(), strict=True):
            np.testing.assert_allclose(array, parameter.detach().numpy(), atol=1e-6 * step)
    for (name, array), key in itertools.product(network.weights.items(), ("exp_avg", "exp_avg_sq")):
        assert ours.state[f"{name}.{key}"].shape == array.shape
    assert {float(ours.state[f"{name}.step"]) for name in network.weights} == {30}


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_an_optimiser_goes_on_from_any_of_its_states(kind: str) -> None:
    network = Network(initial_weights((3, 2), seed=0))
    optimiser = Optimiser(kind, network)
    gradients = torch.randn(3, len(network.flat), generator=torch.Generator().manual_seed(1))
    states = [(network.weights, optimiser.state)]
    for gradient in gradients:
        optimiser.step(gradient, 0.01)
        states.append((network.weights, optimiser.state))
    assert states[0][1] == {}
    # Back to before the first step, and to between.
    for start in (0, 2):
        network.restore(states[start][0])
        optimiser.restore(states[start][1])
        for gradient in gradients[start:]:
            optimiser.step(gradient, 0.01)
        assert {k: v.tobytes() for k, v in network.weights.items()} == {
            k: v.tobytes() for k, v in states[-1][0].items()
        }
        assert {k: v.tobytes() for k, v in optimiser.state.items()} == {
            k: v.tobytes() for k, v in states[-1][1].items()
        }


def test_a_constant_rate() -> None:
    assert [learning_rate(TrainConfig(lr=0.5), steps) for steps in (0, 10**9)] == [0.5, 0.5]


def test_a_linear_schedule_by_hand() -> None:
    config = TrainConfig(lr=0.5, lr_schedule="linear", lr_decay_env_steps=100)
    assert [learning_rate(config, steps) for steps in (0, 25, 50, 100, 1000)] == [0.5, 0.375, 0.25, 0, 0]


@pytest.mark.parametrize("options", [{"lr_schedule": "linear"}, {"lr_decay_env_steps": 5}])
def test_half_a_schedule_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="go together"):
        TrainConfig(**options)
