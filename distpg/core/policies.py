"""Softmax policies over action preferences h(s, a; theta) (article, policy parameterisation).

A policy is a dictionary of arrays and the pure functions below. :func:`preferences` runs on NumPy arrays and
on torch tensors alike: runners of built-in policies never import torch, and the learner's network is checked
against the very function that chose the actions.
"""

import functools
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.seeding import Stream, uniform, words

Weights = dict[str, NDArray[np.float32]]

# Arrays of the value function are numbered from here, far from the policy's.
VALUE_ARRAYS = 2**16


@dataclass(frozen=True)
class PolicySpec:
    """Shape of a policy: everything but its weights.

    Without hidden layers the preferences are linear in the features, which are the observation itself
    (degree 1) or its products (polynomial).
    """

    observation_size: int
    num_actions: int
    hidden_sizes: tuple[int, ...] = ()
    degree: int = 1

    @property
    def num_features(self) -> int:
        """Columns of :func:`features`."""
        return math.comb(self.observation_size + self.degree, self.degree) - 1

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from features to action preferences."""
        return (self.num_features, *self.hidden_sizes, self.num_actions)

    @property
    def num_weights(self) -> int:
        """Numbers in all layers, biases included."""
        return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(self.layer_sizes))


def features(observations: NDArray[np.float32], degree: int) -> NDArray[np.float32]:
    """All products of 1 to ``degree`` numbers of the observation; the constant term is the layer's bias.

    Degree 2 of (x, y) gives x, y, x*x, x*y, y*y. From float32[B, observation size] to float32[B, features].
    """
    if degree == 1:
        return observations
    columns = observations
    for factors in _products(observations.shape[1], degree):
        products = columns[:, factors[:, 0]] * observations[:, factors[:, 1]]
        columns = np.concatenate([columns, products], axis=1)
    return columns


@functools.lru_cache(maxsize=16)
def _products(size: int, degree: int) -> list[NDArray[np.int64]]:
    """The columns of each degree from 2, int64[columns, 2], as of :func:`flat_products`."""
    levels = []
    columns: dict[tuple[int, ...], int] = {(index,): index for index in range(size)}
    for count in range(2, degree + 1):
        products = list(itertools.combinations_with_replacement(range(size), count))
        levels.append(np.array([(columns[product[:-1]], product[-1]) for product in products]))
        columns.update(zip(products, itertools.count(len(columns)), strict=False))
    return levels


def flat_products(size: int, degree: int) -> NDArray[np.int64]:
    """For each column of :func:`features` after the first ``size``: the two columns it is the product of.

    int64[columns, 2]: a column before it, and one of the observation.
    """
    return np.concatenate([np.empty((0, 2), np.int64), *_products(size, degree)])


def weight_shapes(layer_sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """By name: ``layers.<i>.weight`` has (outputs, inputs), ``layers.<i>.bias`` (outputs,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(layer_sizes)):
        shapes[f"layers.{layer}.weight"] = (outputs, inputs)
        shapes[f"layers.{layer}.bias"] = (outputs,)
    return shapes


def initial_weights(layer_sizes: Sequence[int], seed: int, first_array: int = 0) -> Weights:
    """Weights and biases uniform in +-1/sqrt(inputs of the layer), PyTorch's default for linear layers.

    Weights are float32[outputs, inputs], biases float32[outputs]. Element k of array number n is drawn from
    word k of the stream's "episode" ``first_array + n``, so they depend on the seed and the shape alone.
    """
    weights: Weights = {}
    for number, (name, shape) in enumerate(weight_shapes(layer_sizes).items()):
        u = uniform(words(seed, Stream.INITIAL_WEIGHTS, [first_array + number], 0, math.prod(shape)))
        bound = np.float32(1 / np.sqrt(layer_sizes[number // 2]))
        weights[name] = ((2 * u - 1) * bound).reshape(shape)
    return weights


def preferences(weights: Mapping[str, Any], inputs: Any) -> Any:
    """h(s, .; theta): linear layers with ReLU between them.

    NumPy arrays or torch tensors: from features float32[B, features] to preferences float32[B, actions].
    """
    last = len(weights) // 2 - 1
    h = inputs
    for layer in range(last + 1):
        h = h @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        if layer < last:
            h = h.clip(0)
    return h


def softmax(h: NDArray[np.float32]) -> NDArray[np.float32]:
    """pi(a|s) = exp h(s, a) / sum over b of exp h(s, b), float32[B, A]."""
    exponentials = np.exp(h - h.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def weights_digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """First 16 hex digits of SHA-256 over the float32 little-endian weights, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(np.ascontiguousarray(weights[name], "<f4").tobytes())
    return digest.hexdigest()[:16]
