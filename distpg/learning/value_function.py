"""V(s; w), the learnt baseline: with it REINFORCE is the Monte-Carlo actor-critic of the article."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.config.train_config import TrainConfig
from distpg.core.policies import VALUE_ARRAYS, initial_weights
from distpg.learning.learner_state import Moments, ValueState
from distpg.learning.network import Network, Sums
from distpg.learning.optimisers import Optimiser


class ValueFunction:
    """A multilayer perceptron fitted to the returns of each batch, after the batch's gradient was taken.

    A value function fitted to a batch *before* it serves as that batch's baseline would depend on the very
    actions it judges, and bias the gradient. The network predicts returns in units of their own mean and
    deviation, so that one learning rate fits all environments; when these move, its last layer is rescaled so
    that no prediction changes (van Hasselt et al., "Learning values across many orders of magnitude", 2016,
    section 2.1).
    """

    def __init__(self, config: TrainConfig, observation_size: int) -> None:
        sizes = (observation_size, *config.hidden_sizes, 1)
        self._network = Network(initial_weights(sizes, config.seed, VALUE_ARRAYS), config.learner_threads)
        self._optimiser = Optimiser("adam", self._network)
        self._lr = config.value_lr
        self._num_steps = config.value_updates
        self.moments = Moments()

    def predict(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """V of each of N observations float32[N, observation size], in the unit of returns, float64[N]."""
        values = np.empty(len(observations), np.float64)

        def keep(outputs: Tensor, rows: slice) -> tuple[None, Sums]:
            values[rows] = outputs[0].numpy()
            return None, ()

        self._network.differentiate(len(values), observations.__getitem__, keep)
        values *= self.moments.deviation
        values += self.moments.mean
        return values

    def fit(self, observations: NDArray[np.float32], returns: NDArray[np.float32]) -> None:
        """Some steps of Adam along the mean squared error over the whole batch."""
        self._rescale(self.moments.add(returns))
        scaled = (returns.astype(np.float64) - self.moments.mean) / self.moments.deviation
        targets = torch.tensor(scaled.astype(np.float32))

        def squared_error(outputs: Tensor, rows: slice) -> tuple[Tensor, Sums]:
            return (outputs - targets[rows]).mul_(2 / len(targets)), ()

        for _ in range(self._num_steps):
            gradient, _ = self._network.differentiate(len(targets), observations.__getitem__, squared_error)
            self._optimiser.step(gradient, self._lr)

    def _rescale(self, moments: Moments) -> None:
        ratio = self.moments.deviation / moments.deviation
        shift = (self.moments.mean - moments.mean) / moments.deviation
        # The first returns give the network its unit; until then it has made no prediction worth keeping.
        if self.moments.count:
            weight, bias = self._network.last_layer
            weight.mul_(ratio)
            bias.mul_(ratio).add_(shift)
        self.moments = moments

    @property
    def is_finite(self) -> bool:
        """Whether all weights are, and what its optimiser keeps."""
        return self._network.is_finite and self._optimiser.is_finite

    @property
    def state(self) -> ValueState:
        """A copy of all that decides how it goes on."""
        return ValueState(self._network.weights, self._optimiser.state, self.moments)

    def restore(self, state: ValueState) -> None:
        """Go on from an earlier state, bit for bit."""
        self._network.restore(state.weights)
        self._optimiser.restore(state.optimiser)
        self.moments = state.moments
