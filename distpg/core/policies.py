"""Policies: softmax over action preferences h(s, a; theta), or normal distributions of numbers.

A policy is a dictionary of arrays and the pure functions below. :func:`preferences` runs on NumPy arrays and
on torch tensors alike: runners of built-in policies never import torch, and the learner's network is checked
against the very function that chose the actions.
"""

import functools
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distpg.core.seeding import Stream, uniform, words

Weights = dict[str, NDArray[np.float32]]

# Arrays of the value function are numbered from here, far from the policy's.
VALUE_ARRAYS = 2**16

# By which observations are normalised; no gradient moves them.
OBSERVATION_ARRAYS = ("observations.mean", "observations.scale")

# Names of a torch module's parameters begin so.
MODULE = "module."

# Normalised numbers of an observation are cut here: one that was never seen so must not drown the others.
LARGEST_FEATURE = 10.0

# Of a policy of numbers: how it begins, where -1 and 1 are the bounds that most environments set.
INITIAL_LOG_DEVIATION = -0.5

Distribution = Literal["categorical", "normal", "tanh-normal"]
Normalisation = Literal["none", "bounds", "running"]


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether observations of it are pictures, with channels first or last or without, of 3 x 3 or more."""
    return len(shape) in (2, 3) and sorted(shape)[-2] >= 3


@dataclass(frozen=True)
class PolicySpec:
    """Shape of a policy: everything but its weights.

    Without hidden layers the outputs are linear in the features, which are the observation itself (degree 1)
    or its products (polynomial).

    Attributes:
        observation_size: Numbers of an observation, flat.
        action_sizes: Of a categorical policy the number of categories of each part of an action, of the
            others a 1 for each number of it.
        distribution: Of each part. ``tanh-normal``: the action is the tanh of a normally distributed number.
        normalisation: How observations become numbers of about -1 to 1 before they are used: not at all, from
            their ``bounds``, or by the mean and deviation of all that was seen. Where they do, it is by
            arrays among the weights: ``observations.mean`` and ``observations.scale``, float32[observation
            size].
        module: The factory ``module:function`` of a torch module that is the policy, instead of layers.
        module_shapes: Of its parameters by name.
        shape: Of an observation; empty: ``(observation_size,)``.
    """

    observation_size: int
    action_sizes: tuple[int, ...]
    hidden_sizes: tuple[int, ...] = ()
    degree: int = 1
    distribution: Distribution = "categorical"
    normalisation: Normalisation = "none"
    bounds: tuple[float, float] = (-1.0, 1.0)
    module: str = ""
    module_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of an observation, as a module gets it."""
        return self.shape or (self.observation_size,)

    @property
    def num_features(self) -> int:
        """Columns of :func:`features`."""
        return math.comb(self.observation_size + self.degree, self.degree) - 1

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from features to outputs: all parts' action preferences, or the numbers' means."""
        return (self.num_features, *self.hidden_sizes, sum(self.action_sizes))

    @property
    def is_categorical(self) -> bool:
        """Whether actions are categories, not numbers."""
        return self.distribution == "categorical"

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all weights by name, in their order: the layers', ``log_deviations``, those of observations."""
        shapes = dict(self.module_shapes) if self.module else weight_shapes(self.layer_sizes)
        if not self.is_categorical:
            shapes["log_deviations"] = (len(self.action_sizes),)
        if self.normalisation != "none":
            shapes |= dict.fromkeys(OBSERVATION_ARRAYS, (self.observation_size,))
        return shapes

    @property
    def num_weights(self) -> int:
        """Numbers in all of them, biases included."""
        return sum(map(math.prod, self.weight_shapes.values()))

    @property
    def action_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned one that holds each category, or float32 of numbers."""
        return np.min_scalar_type(max(self.action_sizes) - 1) if self.is_categorical else np.dtype(np.float32)

    @property
    def has_single_actions(self) -> bool:
        """Whether an action is one category, so that N of them are [N] and not [N, parts]."""
        return self.is_categorical and len(self.action_sizes) == 1

    def initial_weights(self, seed: int) -> Weights:
        """What a run with this seed begins with, float32; see :func:`initial_weights`.

        Where their running mean and deviation scale them, observations count nothing before the first update.
        """
        return initial_weights(self.layer_sizes, seed) | self.other_weights()

    def other_weights(self) -> Weights:
        """Those that no seed decides."""
        mean, scale = 0.0, 0.0
        if self.normalisation == "bounds":
            low, high = self.bounds
            mean, scale = (low + high) / 2, 2 / (high - low) if high > low else 0.0
        names = ("log_deviations", *OBSERVATION_ARRAYS)
        values = dict(zip(names, (INITIAL_LOG_DEVIATION, mean, scale), strict=True))
        shapes = self.weight_shapes
        return {
            name: np.full(shapes[name], value, np.float32) for name, value in values.items() if name in shapes
        }


def not_learnt(name: str) -> bool:
    """Whether no gradient moves weights of this name."""
    return name in OBSERVATION_ARRAYS


def normalised(observations: NDArray[Any], weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Observations [B, size] as the policy's weights have them scaled, float32[B, size]."""
    numbers = observations.astype(np.float32, copy=False)
    if OBSERVATION_ARRAYS[0] not in weights:
        return numbers
    mean, scale = (weights[name] for name in OBSERVATION_ARRAYS)
    scaled: NDArray[np.float32] = ((numbers - mean) * scale).clip(-LARGEST_FEATURE, LARGEST_FEATURE)
    return scaled


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
    last = num_layers(weights) - 1
    h = inputs
    for layer in range(last + 1):
        h = h @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        if layer < last:
            h = h.clip(0)
    return h


def num_layers(weights: Iterable[str]) -> int:
    """Linear layers among the names of weights."""
    return sum(name.startswith("layers.") for name in weights) // 2


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
