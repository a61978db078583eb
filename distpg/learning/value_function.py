"""V(s; w), the learnt baseline: with it REINFORCE is the Monte-Carlo actor-critic of the article."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.config.train_config import TrainConfig
from distpg.core.policies import VALUE_ARRAYS, initial_weights
from distpg.core.seeding import Stream, words
from distpg.learning.learner_state import Moments, ValueState
from distpg.learning.network import Inputs, Network, Rows, Sums
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
        self._num_epochs = config.value_updates
        self._minibatch_size = config.value_minibatch_size
        self._seed = config.seed
        self.moments = Moments()

    def predict(self, observations: Inputs, num_rows: int) -> NDArray[np.float64]:
        """V of each of N observations, in the unit of returns, float64[N]."""
        values = np.empty(num_rows, np.float64)

        def keep(outputs: Tensor, rows: slice) -> tuple[None, Sums]:
            values[rows] = outputs[0].numpy()
            return None, ()

        self._network.differentiate(num_rows, observations, keep)
        values *= self.moments.deviation
        values += self.moments.mean
        return values

    def fit(self, observations: Inputs, returns: NDArray[np.float32], number: int = 0) -> None:
        """Some passes of Adam along the mean squared error, over the whole batch or its minibatches.

        Args:
            number: Of the fit, for the order of minibatches, which is drawn anew for each pass.
        """
        self._rescale(self.moments.add(returns))
        scaled = (returns.astype(np.float64) - self.moments.mean) / self.moments.deviation
        targets = torch.tensor(scaled.astype(np.float32))

        for epoch in range(self._num_epochs):
            for rows in self._minibatches(len(targets), number, epoch):
                self._step(observations, targets, rows)

    def _minibatches(self, num_rows: int, number: int, epoch: int) -> Iterator[NDArray[np.int64] | None]:
        """Rows of each; None: all of them, in their order."""
        if self._minibatch_size is None:
            yield None
            return
        order = words(self._seed, Stream.MINIBATCH_ORDER, [number], 0, num_rows, epoch)[0]
        shuffled = np.argsort(order, kind="stable")
        for start in range(0, num_rows, self._minibatch_size):
            yield shuffled[start : start + self._minibatch_size]

    def _step(self, observations: Inputs, targets: Tensor, rows: NDArray[np.int64] | None) -> None:
        wanted = targets if rows is None else targets[torch.from_numpy(rows)]

        def inputs(part: Rows) -> NDArray[np.float32]:
            return observations(part if rows is None else rows[part])

        def squared_error(outputs: Tensor, part: slice) -> tuple[Tensor, Sums]:
            return (outputs - wanted[part]).mul_(2 / len(wanted)), ()

        gradient, _ = self._network.differentiate(len(wanted), inputs, squared_error)
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
