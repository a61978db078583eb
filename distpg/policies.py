"""Softmax policies over action preferences h(s, a; theta) (article, policy parameterisation).

A policy is a dictionary of arrays and the pure functions below. :func:`preferences` runs on NumPy arrays and
on torch tensors alike: runners of built-in policies never import torch, and the learner differentiates the
very function that chose the actions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.seeding import Stream, uniform, words

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class PolicySpec:
    """Shape of a policy: everything but its weights."""

    observation_size: int
    num_actions: int
    hidden_sizes: tuple[int, ...]

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from observation to action preferences."""
        return (self.observation_size, *self.hidden_sizes, self.num_actions)


def initial_weights(spec: PolicySpec, seed: int) -> Weights:
    """Weights and biases uniform in +-1/sqrt(inputs of the layer), PyTorch's default for linear layers.

    Weights are float32[outputs, inputs], biases float32[outputs]. Element k of array number n is drawn from
    word k of the stream's "episode" n, so the weights depend on the seed and the shape alone.
    """
    weights: Weights = {}
    for layer, (inputs, outputs) in enumerate(zip(spec.layer_sizes, spec.layer_sizes[1:], strict=False)):
        for name, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            u = uniform(words(seed, Stream.INITIAL_WEIGHTS, [len(weights)], 0, int(np.prod(shape))))
            bound = np.float32(1 / np.sqrt(inputs))
            weights[f"layers.{layer}.{name}"] = ((2 * u - 1) * bound).reshape(shape)
    return weights


def preferences(weights: Mapping[str, Any], observations: Any) -> Any:
    """h(s, .; theta): linear layers with ReLU between them.

    Args:
        weights: As of :func:`initial_weights`, NumPy arrays or torch tensors.
        observations: float32[B, observation size], of the same library.

    Returns:
        float32[B, number of actions].
    """
    last = len(weights) // 2 - 1
    h = observations
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


def choose(probabilities: NDArray[np.float32], u: NDArray[np.float32]) -> NDArray[np.int64]:
    """The smallest k with u < pi_0 + ... + pi_k, for each row.

    Args:
        probabilities: float32[B, A].
        u: float32[B], uniform in [0, 1).

    Returns:
        int64[B]. Where rounding leaves the sum at or below u, the last action.
    """
    below = np.cumsum(probabilities, axis=1)[:, :-1] <= u[:, None]
    chosen: NDArray[np.int64] = below.sum(axis=1)
    return chosen


def weights_digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """First 16 hex digits of SHA-256 over the float32 little-endian weights, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(np.ascontiguousarray(weights[name], "<f4").tobytes())
    return digest.hexdigest()[:16]
