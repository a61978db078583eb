import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distpg.config.train_config import TrainConfig
from distpg.core.policies import (
    VALUE_ARRAYS,
    PolicySpec,
    features,
    initial_weights,
    preferences,
    softmax,
    weights_digest,
)
from distpg.errors import ConfigError
from distpg.training.prepare import policy_spec
from tests.conftest import plain_env

SPEC = PolicySpec(4, (3,), (16, 8))


def test_softmax_by_hand_and_without_overflow() -> None:
    h = np.log(np.array([[1, 2, 5]], np.float32))
    np.testing.assert_allclose(softmax(h), [[0.125, 0.25, 0.625]], rtol=1e-6)
    np.testing.assert_allclose(softmax(np.array([[1000, 0]], np.float32)), [[1, 0]])


def test_forward_by_a_slow_loop_and_in_torch() -> None:
    weights = SPEC.initial_weights(1)
    observations = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    h = observations.astype(np.float64)
    for layer in range(3):
        matrix, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
        h = np.array([[sum(row * x) + b for row, b in zip(matrix, bias, strict=True)] for x in h])
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(preferences(weights, observations), h, atol=1e-6)
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    np.testing.assert_allclose(preferences(tensors, torch.tensor(observations)), h, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 64])
def test_bits_do_not_depend_on_where_the_arrays_lie(rows: int) -> None:
    weights = initial_weights((4, 128, 2), seed=0)
    observations = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)

    def moved(array: np.ndarray, offset: int) -> np.ndarray:
        memory = np.empty(array.nbytes + 64 + 4 * 16, np.uint8)
        start = -memory.ctypes.data % 64 + 4 * offset
        copy = memory[start : start + array.nbytes].view(np.float32).reshape(array.shape)
        copy[...] = array
        return copy

    expected = softmax(preferences(weights, observations)).tobytes()
    for offset in range(16):
        there = {name: moved(array, (offset * 3 + 1) % 16) for name, array in weights.items()}
        assert softmax(preferences(there, moved(observations, offset))).tobytes() == expected


@given(st.integers(0, 2**64 - 1))
def test_initial_weights_depend_on_the_seed_and_stay_in_bounds(seed: int) -> None:
    weights = SPEC.initial_weights(seed)
    assert {name: array.shape for name, array in weights.items()} == {
        "layers.0.weight": (16, 4),
        "layers.0.bias": (16,),
        "layers.1.weight": (8, 16),
        "layers.1.bias": (8,),
        "layers.2.weight": (3, 8),
        "layers.2.bias": (3,),
    }
    assert all(array.dtype == np.float32 for array in weights.values())
    assert np.abs(weights["layers.1.weight"]).max() <= 0.25
    assert weights_digest(weights) == weights_digest(SPEC.initial_weights(seed))
    assert weights_digest(weights) != weights_digest(initial_weights(SPEC.layer_sizes, seed ^ 1))


def test_digest_by_hand() -> None:
    # SHA-256 of the little-endian bytes of 1.0f, 2.0f: b before c, whatever the insertion order.
    import hashlib

    expected = hashlib.sha256(bytes.fromhex("0000803f00000040")).hexdigest()[:16]
    assert weights_digest({"c": np.array([2], np.float32), "b": np.array([1], np.float32)}) == expected


def test_polynomial_features_by_hand() -> None:
    x, y = 2.0, -3.0
    expected = [x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3]
    found = features(np.array([[x, y], [0, 1]], np.float32), 3)
    assert found[0].tolist() == expected
    assert found[1].tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(("size", "degree"), [(1, 4), (4, 1), (4, 2), (3, 3), (8, 2)])
def test_the_number_of_features(size: int, degree: int) -> None:
    spec = PolicySpec(size, (2,), degree=degree)
    assert features(np.ones((5, size), np.float32), degree).shape == (5, spec.num_features)


def test_features_of_a_row_do_not_depend_on_the_rows_beside_it() -> None:
    rows = np.random.default_rng(0).normal(size=(65, 4)).astype(np.float32)
    together = features(rows, 3)
    for index, row in enumerate(rows):
        assert features(row[None], 3).tobytes() == together[index].tobytes()


def test_the_policy_that_is_asked_for() -> None:
    assert policy_spec(TrainConfig(policy="linear"), plain_env(4, 2)).layer_sizes == (4, 2)
    assert policy_spec(TrainConfig(policy="polynomial"), plain_env(4, 2)).layer_sizes == (14, 2)
    assert policy_spec(TrainConfig(policy="polynomial", degree=3), plain_env(4, 2)).layer_sizes == (34, 2)
    assert policy_spec(TrainConfig(hidden_sizes=(7, 5)), plain_env(4, 3)).layer_sizes == (4, 7, 5, 3)
    with pytest.raises(ConfigError, match="degree 9 in 20 numbers has 10,015,004 terms"):
        policy_spec(TrainConfig(policy="polynomial", degree=9), plain_env(20, 2))


def test_policy_and_value_function_start_from_different_numbers() -> None:
    policy, value = initial_weights((4, 8, 1), 0), initial_weights((4, 8, 1), 0, VALUE_ARRAYS)
    assert not any(np.array_equal(policy[name], value[name]) for name in policy)
