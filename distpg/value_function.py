"""V(s; w), the learnt baseline: with it REINFORCE is the Monte-Carlo actor-critic of the article."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from distpg.learner_state import Moments
from distpg.optimisers import make_optimiser, optimiser_state, restore_optimiser, restore_weights
from distpg.policies import VALUE_ARRAYS, Weights, initial_weights, preferences


class ValueFunction:
    """A multilayer perceptron fitted to the returns of each batch, after the batch's gradient was taken.

    A value function fitted to a batch *before* it serves as that batch's baseline would depend on the very
    actions it judges, and bias the gradient. The network predicts returns in units of their own mean and
    deviation, so that one learning rate fits all environments; when these move, its last layer is rescaled so
    that no prediction changes (van Hasselt et al., "Learning values across many orders of magnitude", 2016,
    section 2.1).
    """

    def __init__(
        self, observation_size: int, hidden_sizes: tuple[int, ...], seed: int, lr: float, num_updates: int
    ) -> None:
        self._last = len(hidden_sizes)
        arrays = initial_weights((observation_size, *hidden_sizes, 1), seed, VALUE_ARRAYS)
        self._parameters = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
        self._optimiser = make_optimiser("adam", self._parameters, lr)
        self._num_updates = num_updates
        self.moments = Moments()

    def predict(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """V of each of N observations float32[N, observation size], in the unit of returns, float64[N]."""
        with torch.no_grad():
            values: NDArray[np.float32] = preferences(self._parameters, torch.tensor(observations))[
                :, 0
            ].numpy()
        return values.astype(np.float64) * self.moments.deviation + self.moments.mean

    def fit(self, observations: NDArray[np.float32], returns: NDArray[np.float32]) -> None:
        """Some steps of Adam along the mean squared error over the whole batch."""
        self._rescale(self.moments.add(returns))
        scaled = (returns.astype(np.float64) - self.moments.mean) / self.moments.deviation
        inputs, targets = torch.tensor(observations), torch.tensor(scaled.astype(np.float32))
        for _ in range(self._num_updates):
            errors = preferences(self._parameters, inputs)[:, 0] - targets
            gradients = torch.autograd.grad(errors.square().mean(), list(self._parameters.values()))
            for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
                parameter.grad = gradient
            self._optimiser.step()

    def _rescale(self, moments: Moments) -> None:
        ratio = self.moments.deviation / moments.deviation
        shift = (self.moments.mean - moments.mean) / moments.deviation
        # The first returns give the network its unit; until then it has made no prediction worth keeping.
        if self.moments.count:
            with torch.no_grad():
                self._parameters[f"layers.{self._last}.weight"].mul_(ratio)
                self._parameters[f"layers.{self._last}.bias"].mul_(ratio).add_(shift)
        self.moments = moments

    @property
    def is_finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(parameter.isfinite().all()) for parameter in self._parameters.values())

    @property
    def weights(self) -> Weights:
        """A copy of the network's weights, float32."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._parameters.items()}

    @property
    def optimiser_state(self) -> Weights:
        """A copy of the optimiser's arrays."""
        return optimiser_state(self._optimiser, self._parameters)

    def restore(self, weights: Mapping[str, NDArray[np.float32]], state: Weights, moments: Moments) -> None:
        """Go on from an earlier state, bit for bit."""
        restore_weights(self._parameters, weights)
        restore_optimiser(self._optimiser, self._parameters, state)
        self.moments = moments
