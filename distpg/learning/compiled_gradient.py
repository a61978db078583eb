"""The policy gradient of layered softmax policies, compiled; the tests compare it with torch's autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import OBSERVATION_ARRAYS, PolicySpec, Weights, flat_products

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
_NONE = np.zeros(0, np.float32)


def has_compiled_gradient(spec: PolicySpec) -> bool:
    """Whether it is a policy of this module: single categories by a linear function or hidden layers."""
    return not spec.module and spec.has_single_actions and spec.action_sizes[0] > 1


class CompiledGradient:
    """Gradients of a policy's loss at any weights."""

    def __init__(self, spec: PolicySpec) -> None:
        from distpg.kernels import blocks, gradient

        self._kernel: Any = gradient
        self._known: list[tuple[Weights, Any]] = []
        self._layout = _Layout(spec, blocks.UNITS)
        self._room = self._kernel.new_room(
            self._layout.sizes, spec.action_sizes[0], self._layout.num_parameters
        )

    def _layers(self, weights: Weights) -> Any:
        """A policy's weights as the kernel takes them; of the last two it is known already."""
        for known, layers in self._known:
            if known is weights:
                return layers
        found = self._layout.layers(self._kernel.Layers, weights)
        self._known = [*self._known[-1:], (weights, found)]
        return found

    def differentiate(
        self,
        weights: Weights,
        observations: NDArray[Any],
        actions: NDArray[Any],
        step_weights: NDArray[np.float32],
        entropy_coef: float = 0.0,
        log_probs_then: NDArray[np.float32] | None = None,
        ratio_clip: float = 1.0,
    ) -> tuple[Float64s, float, float, Float32s]:
        """The gradient of the loss summed over N steps, flat by all learnt weights in their order, float64.

        The loss is -(w log pi(a|s) + c H(pi(.|s))) a step: see
        :func:`distpg.learning.policy_gradient.policy_gradient_loss`, which divides it by the episodes. Also
        the sums of the loss and of the entropies, and the :meth:`preferences`.

        Args:
            step_weights: float32[N], w of each step, which is multiplied by its truncated ratio where
                ``log_probs_then`` float32[N] is given.
        """
        layout = self._layout
        gradient, totals = np.empty(layout.num_parameters + layout.num_biases), np.empty(2)
        preferences = np.empty((layout.num_biases, len(actions)), np.float32)
        self._kernel.differentiate(
            self._layers(weights),
            self._room,
            observations.astype(np.float32, copy=False),
            actions,
            step_weights,
            _NONE if log_probs_then is None else log_probs_then,
            np.float32(ratio_clip),
            np.float32(entropy_coef),
            gradient,
            totals,
            preferences,
        )
        return layout.flat(gradient), float(totals[0]), float(totals[1]), preferences

    def preferences(self, weights: Weights, observations: NDArray[Any]) -> Float32s:
        """Of N states, all actions' but the first, above that of the first: float32[actions - 1, N]."""
        found = np.empty((self._layout.num_biases, len(observations)), np.float32)
        numbers = observations.astype(np.float32, copy=False)
        self._kernel.preferences(self._layers(weights), self._room, numbers, found)
        return found

    def divergence(self, before: Float32s, after: Weights, observations: NDArray[Any]) -> float:
        """The sum over N states of KL(policy before || policy after), given the preferences before."""
        now = self.preferences(after, observations)
        return float(self._kernel.divergence(before, now, self._room))


class _Layout:
    """Where each weight lies in the blocks of :class:`distpg.kernels.gradient.Layers`."""

    def __init__(self, spec: PolicySpec, units: int) -> None:
        self._units = units
        widths = spec.layer_sizes
        self._widths = widths
        padded = [-(-width // units) * units for width in widths[:-1]]
        padded[0] = -(-widths[0] // 4) * 4
        self.sizes = np.array(padded, np.int64)
        self.num_biases = widths[-1] - 1
        self._products = flat_products(spec.observation_size, spec.degree)
        # Where each hidden layer's weights (units, inputs) and biases are, and the last's (actions, inputs).
        self._weights_at, self._biases_at = [], []
        end = 0
        for inputs, outputs, size, above in zip(widths, widths[1:-1], padded, padded[1:], strict=False):
            unit, one = np.arange(outputs), np.arange(inputs)
            start = end + unit // units * (size + 1) * units + unit % units
            self._weights_at.append(start[:, None] + one * units)
            self._biases_at.append(start + size * units)
            end += (size + 1) * above
        one, action = np.arange(widths[-2]), np.arange(self.num_biases)
        self._last_at = end + (one // units * self.num_biases + action[:, None]) * units + one % units
        self.num_parameters = end + -(-padded[-1] // units) * units * self.num_biases

    def layers(self, make: Any, weights: Weights) -> Any:
        """A policy's weights as ``make`` takes them."""
        parameters, last = np.zeros(self.num_parameters, np.float32), len(self._weights_at)
        across = []
        for layer, (at, biases_at) in enumerate(zip(self._weights_at, self._biases_at, strict=True)):
            weight = weights[f"layers.{layer}.weight"]
            parameters[at], parameters[biases_at] = weight, weights[f"layers.{layer}.bias"]
            if layer:
                padded = np.zeros((self.sizes[layer + 1], self.sizes[layer]), np.float32)
                padded[: weight.shape[0], : weight.shape[1]] = weight
                across += [block.ravel() for block in np.split(padded, padded.shape[1] // self._units, 1)]
        weight, bias = weights[f"layers.{last}.weight"], weights[f"layers.{last}.bias"]
        parameters[self._last_at] = weight[1:] - weight[0]
        normal = [weights.get(name, _NONE) for name in OBSERVATION_ARRAYS]
        return make(
            parameters,
            np.concatenate(across) if across else _NONE,
            bias[1:] - bias[0],
            self.sizes,
            self._products,
            *normal,
        )

    def flat(self, gradient: Float64s) -> Float64s:
        """The gradient by all weights in their order: what moves all preferences alike is nothing's."""
        parts = []
        for at, biases_at in zip(self._weights_at, self._biases_at, strict=True):
            parts += [gradient[at].ravel(), gradient[biases_at]]
        last, biases = gradient[self._last_at], gradient[self.num_parameters :]
        first = -last.sum(axis=0)
        return np.concatenate([*parts, first, last.ravel(), [-biases.sum()], biases])
