"""Compiled calls: an episode's seeds, and a tick of the built-in policies, from features to the choice."""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec, Weights, flat_products


class Steps(NamedTuple):
    """Room for the steps of some lanes, one after the other in each.

    Attributes:
        observations: float32[lanes, steps, observation size].
        actions: int64[lanes, steps].
        log_probs: float32[lanes, steps]; float32[0, steps] where nobody asks for them.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    log_probs: NDArray[np.float32]


def reset_seeds(seed: int, stream: int, first_episode: int, count: int) -> list[int]:
    """:func:`distpg.core.seeding.environment_seed` of consecutive episodes, compiled."""
    from distpg.kernels import philox

    found = np.empty(count, np.int64)
    numbers = (np.uint64(number) for number in (seed, stream, first_episode))
    philox.reset_seeds(*numbers, np.empty(4, np.uint32), found)
    seeds: list[int] = found.tolist()
    return seeds


class CompiledPolicy:
    """A policy's weights, laid out for the compiled call."""

    def __init__(self, spec: PolicySpec) -> None:
        from distpg.kernels import forward

        sizes = spec.layer_sizes
        self._parameters = np.empty(spec.num_weights, np.float32)
        self._narrow = forward.NARROW
        self._tick = functools.partial(
            forward.tick,
            self._parameters,
            np.array(sizes, np.int64),
            flat_products(spec.observation_size, spec.degree),
            np.empty((2, forward.BLOCK, max(sizes)), np.float32),
        )

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on."""
        end = 0
        for layer in range(len(weights) // 2):
            weight, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
            for array in (weight if len(weight) < self._narrow else weight.T, bias):
                start, end = end, end + array.size
                self._parameters[start:end] = array.reshape(-1)

    def act(
        self,
        steps: Steps,
        choices: NDArray[np.int64],
        words: NDArray[np.uint32],
        lanes: NDArray[np.int64],
        at: int,
        t: int,
        numbers: NDArray[np.uint64],
    ) -> None:
        """Choose the actions of step ``t`` in some lanes.

        Args:
            steps: Its observations at ``at`` are read, actions and log-probabilities are written there.
            choices: int64[number of lanes given], the actions once more, in the order of ``lanes``.
            words: uint32[lanes, 4], the lanes' random numbers from one tick to the next.
            lanes: int64, those that still play.
            numbers: uint64[4]: run seed, stream, number of lane 0's episode, 1 to be greedy.
        """
        self._tick(*steps, choices, words, lanes, at, t, numbers)
