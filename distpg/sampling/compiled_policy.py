"""Compiled calls: an episode's seeds, and a tick of the built-in policies, from features to the choice."""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import OBSERVATION_ARRAYS, PolicySpec, Weights, flat_products, num_layers


class Steps(NamedTuple):
    """Room for the steps of some lanes, one after the other in each.

    Attributes:
        observations: float32 or uint8[lanes, steps, observation size].
        actions: int64, of numbers float32[lanes, steps, parts].
        log_probs: float32[lanes, steps]; float32[0, steps] where nobody asks for them.
        masks: bool[lanes, steps, outputs], the categories that are legal; bool[1, 1, 0] where all are.
    """

    observations: NDArray[np.float32] | NDArray[np.uint8]
    actions: NDArray[Any]
    log_probs: NDArray[np.float32]
    masks: NDArray[np.bool_] = np.empty((1, 1, 0), np.bool_)


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
        from distpg.kernels import choice, forward

        sizes, num_parts = spec.layer_sizes, len(spec.action_sizes)
        self._layers = np.empty(
            sum((one + 1) * other for one, other in itertools.pairwise(sizes)), np.float32
        )
        normal = spec.observation_size if spec.normalisation != "none" else 0
        self._mean, self._scale = np.empty((2, normal), np.float32)
        self._log_deviations = np.empty(num_parts, np.float32)
        self._narrow = forward.NARROW
        inputs = (
            self._layers,
            np.array(sizes, np.int64),
            flat_products(spec.observation_size, spec.degree),
            self._mean,
            self._scale,
            np.empty((2, forward.BLOCK, max(*sizes, 2 * num_parts)), np.float32),
        )
        if spec.is_categorical:
            self._tick = functools.partial(
                choice.tick_categories, *inputs, np.array(spec.action_sizes, np.int64)
            )
        else:
            squashes = spec.distribution == "tanh-normal"
            self._tick = functools.partial(choice.tick_numbers, *inputs, self._log_deviations, squashes)

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on."""
        end = 0
        for layer in range(num_layers(weights)):
            weight, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
            for array in (weight if len(weight) < self._narrow else weight.T, bias):
                start, end = end, end + array.size
                self._layers[start:end] = array.reshape(-1)
        others = ("log_deviations", *OBSERVATION_ARRAYS)
        for name, room in zip(others, (self._log_deviations, self._mean, self._scale), strict=True):
            if name in weights:
                room[:] = weights[name]

    def act(
        self,
        steps: Steps,
        choices: NDArray[Any],
        words: NDArray[np.uint32],
        lanes: NDArray[np.int64],
        at: int,
        t: int,
        numbers: NDArray[np.uint64],
    ) -> None:
        """Choose the actions of step ``t`` in some lanes.

        Args:
            steps: Its observations and masks at ``at`` are read, actions and log-probabilities are written.
            choices: [number of lanes given, parts], the actions in the order of ``lanes`` as they are played:
                of a ``tanh-normal`` policy from -1 to 1.
            words: uint32[lanes, parts, 4], the lanes' random numbers from one tick to the next.
            lanes: int64, those that still play.
            numbers: uint64[4]: run seed, stream, number of lane 0's episode, 1 to be greedy.
        """
        self._tick(*steps, choices, words, lanes, at, t, numbers)
