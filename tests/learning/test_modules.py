"""Torch modules as policies: the same gradient as our own layers, and what is refused."""

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from distpg.config.train_config import TrainConfig
from distpg.core.policies import PolicySpec, weights_digest
from distpg.errors import ConfigError
from distpg.learning.cnn import image_policy
from distpg.learning.learner import Learner
from distpg.learning.modules import check_module, module_weights, new_module
from distpg.sampling.module_policy import ModulePolicy
from distpg.training.prepare import policy_spec
from tests.conftest import make_batch, plain_env

HERE = "tests.learning.test_modules"


def layers(observation_space: Any, action_space: Any) -> torch.nn.Module:
    size, outputs = observation_space.shape[0], int(action_space.n)
    return torch.nn.Sequential(torch.nn.Linear(size, 8), torch.nn.ReLU(), torch.nn.Linear(8, outputs))


def test_gradient_and_step_are_those_of_built_in_layers() -> None:
    env, batch = plain_env(3, 2), make_batch([30, 12, 7])
    usual: dict = {"hidden_sizes": (8,), "normalise_observations": "none", "entropy_coef": 0.01}
    built_in = TrainConfig(**usual)
    own = TrainConfig(**usual, policy=f"{HERE}:layers")
    spec = policy_spec(own, env)
    one, other = Learner(built_in, policy_spec(built_in, env)), Learner(own, spec)
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    given = dict(zip((f"module.{name}" for name in names), one.weights.values(), strict=True))
    other._network.restore(given)
    for _ in range(3):
        gradients = one.update(batch), other.update(batch)
        assert gradients[0].loss == pytest.approx(gradients[1].loss, rel=1e-5)
        np.testing.assert_allclose(gradients[0].flat, gradients[1].flat, rtol=1e-3, atol=1e-6)
        for mine, theirs in zip(one.weights.values(), other.weights.values(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_weights_follow_the_runs_seed_and_nothing_else() -> None:
    spec = policy_spec(TrainConfig(policy=f"{HERE}:layers", normalise_observations="none"), plain_env(3, 2))
    state = torch.random.get_rng_state()
    first = module_weights(spec, 5)
    torch.rand(7)
    again, other = module_weights(spec, 5), module_weights(spec, 6)
    torch.random.set_rng_state(state)
    for name, array in first.items():
        assert array.tobytes() == again[name].tobytes()
        assert array.tobytes() != other[name].tobytes()


def with_batch_norm(observation_space: Any, action_space: Any) -> torch.nn.Module:
    return torch.nn.Sequential(layers(observation_space, action_space), torch.nn.BatchNorm1d(2))


class Mean(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :2] - rows[:, :2].mean(dim=0)


class Counts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.seen += len(rows)
        return rows[:, :2]


class Random(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :2] + torch.rand(2)


class Changed(torch.nn.Module):
    """Of layers' outputs what a function makes of them."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self._change = torch.nn.Linear(3, 2), change

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows *= 0.5  # which is no fault: it is a copy
        return self._change(self.inner(rows))


class Same(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :2]


def frozen(observation_space: Any, action_space: Any) -> torch.nn.Module:
    module = layers(observation_space, action_space)
    module[0].requires_grad_(False)
    return module


def from_other_generators(observation_space: Any, action_space: Any) -> torch.nn.Module:
    module = layers(observation_space, action_space)
    with torch.no_grad():
        module[0].bias += torch.tensor([random.random(), *np.random.rand(7)])
    return module


def test_factories_may_draw_from_other_generators_and_meet_other_settings() -> None:
    config = TrainConfig(policy=f"{HERE}:from_other_generators", normalise_observations="none")
    spec = policy_spec(config, plain_env(3, 2))
    before = random.getstate()
    first = weights_digest(module_weights(spec, 5))
    assert random.getstate() == before
    torch.set_default_dtype(torch.float64)
    try:
        assert weights_digest(module_weights(spec, 5)) == first
    finally:
        torch.set_default_dtype(torch.float32)
    assert weights_digest(module_weights(spec, 6)) != first


def double(observation_space: Any, action_space: Any) -> torch.nn.Module:
    return layers(observation_space, action_space).double()


WRONG: list[tuple[Callable[..., Any], str, str]] = [
    (with_batch_norm, "has BatchNorm, which depends on the rows beside one", "LayerNorm"),
    (lambda *spaces: Mean(), "gives a row other outputs beside other rows", "of one row"),
    (lambda *spaces: Counts(), "gives a row other outputs", "of one row"),
    (lambda *spaces: Random(), "is random in evaluation mode", "drawn from what it gives"),
    (double, "not float32", "module.float()"),
    (frozen, "has parameters that are not to be learnt", "in buffers"),
    (lambda *spaces: Same(), "has no parameters", "nothing to learn"),
    (lambda *spaces: sys.exit(3), "makes no policy: SystemExit", "module:factory"),
    (lambda *spaces: Changed(lambda rows: rows.double()), "gives torch.float64", "float32"),
    (lambda *spaces: Changed(torch.Tensor.detach), "gives what no gradient comes from", "detach"),
    (lambda *spaces: Changed(lambda rows: rows / 0), "not finite", "divisions by 0"),
    (lambda *spaces: torch.nn.Linear(3, 5), "gives torch.Size([4, 5]) for 4 rows", "float32[B, 2]"),
    (lambda *spaces: torch.nn.Linear(9, 2), "fails: RuntimeError", "observation shape"),
    (lambda *spaces: 1 / 0, "makes no policy: ZeroDivisionError", "module:factory"),
    (lambda *spaces: "a network", "gives str, not a torch.nn.Module", "outputs"),
]


@pytest.mark.parametrize(("factory", "message", "hint"), WRONG, ids=[wrong[1] for wrong in WRONG])
def test_what_is_refused(factory: Callable[..., Any], message: str, hint: str) -> None:
    config = TrainConfig(policy=factory, normalise_observations="none")
    with pytest.raises(ConfigError) as caught:
        policy_spec(config, plain_env(3, 2))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_shapes_may_come_from_the_first_rows() -> None:
    config = TrainConfig(policy=lambda *spaces: torch.nn.LazyLinear(2), normalise_observations="none")
    shapes = policy_spec(config, plain_env(3, 2)).weight_shapes
    assert shapes == {"module.weight": (2, 3), "module.bias": (2,)}


def test_weights_are_loaded_to_the_last_or_not_at_all() -> None:
    spec = policy_spec(TrainConfig(policy=f"{HERE}:layers", normalise_observations="none"), plain_env(3, 2))
    player, weights = ModulePolicy(spec, 0), module_weights(spec, 1)
    player.load(weights)
    weights.popitem()
    with pytest.raises(ValueError, match="no weights of this module"):
        player.load(weights)


@pytest.mark.parametrize("shape", [(84, 84, 4), (4, 84, 84), (7, 7, 3), (10, 10), (36, 40, 1), (32, 32, 3)])
def test_convolutions_fit_images_of_every_size(shape: tuple[int, ...]) -> None:
    spec = PolicySpec(int(np.prod(shape)), (5,), module="distpg.learning.cnn:image_policy", shape=shape)
    check_module(spec, new_module(spec, 0))


def test_numbers_are_no_image() -> None:
    import gymnasium

    with pytest.raises(ValueError, match="no images"):
        image_policy(gymnasium.spaces.Box(-1, 1, (9,)), gymnasium.spaces.Discrete(2))
