"""Observations scaled by the mean and deviation of what was seen before, kept among the weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import OBSERVATION_ARRAYS, PolicySpec, Weights

Float64s = NDArray[np.float64]

# Numbers that are made float64 at once; from the shape alone, as it decides the order of sums.
_CHUNK = 2**20
# Beside the mean: a deviation of less is rounding noise of what does not change.
_CONSTANT = 1e-6


class ObservationNormaliser:
    """What scales observations from one update to the next.

    An iteration is played and learnt from with what was known before it. Count, mean and sum of squared
    deviations are merged as Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances" (1979), in float64 and in the order of the batch.

    Attributes:
        arrays: ``observations.mean`` and ``.scale``, float32[observation size]; none where there is nothing
            to scale.
    """

    def __init__(self, spec: PolicySpec, weights: Weights) -> None:
        self._learns = spec.normalisation == "running"
        self.arrays = {name: weights[name] for name in OBSERVATION_ARRAYS if name in weights}
        self._count = 0
        self._mean, self._squares = np.zeros((2, spec.observation_size if self._learns else 0))

    def add(self, observations: NDArray[np.float32] | NDArray[np.uint8]) -> None:
        """Let a batch's observations [N, size] count from the next iteration on."""
        if not self._learns:
            return
        rows = max(1, _CHUNK // max(1, observations.shape[1]))
        for start in range(0, len(observations), rows):
            self._merge(*moments_of(observations[start : start + rows]))
        self._scale()

    def add_moments(self, parts: Iterable[tuple[int, Float64s, Float64s]]) -> None:
        """As :meth:`add`, of observations of which :func:`moments_of` tells, in order."""
        if self._learns:
            for part in parts:
                self._merge(*part)
            self._scale()

    def _scale(self) -> None:
        deviation = np.sqrt(self._squares / self._count)
        is_constant = deviation <= _CONSTANT * np.maximum(1.0, np.abs(self._mean))
        scale = 1 / np.where(is_constant, 1.0, deviation)
        numbers = (self._mean, scale)
        self.arrays = {
            name: array.astype(np.float32) for name, array in zip(OBSERVATION_ARRAYS, numbers, strict=True)
        }

    def _merge(self, count: int, mean: Float64s, squares: Float64s) -> None:
        before = self._count
        difference, self._count = mean - self._mean, before + count
        self._mean = self._mean + difference * (count / self._count)
        self._squares += squares
        self._squares += difference * difference * (before * count / self._count)

    @property
    def is_finite(self) -> bool:
        """Whether all of it is."""
        return bool(np.isfinite(self._squares).all())

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of all that it goes on from; empty where it learns nothing."""
        if not self._learns:
            return {}
        return {
            "count": np.array(self._count, np.float64),
            "mean": self._mean.copy(),
            "squares": self._squares.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]], weights: Weights) -> None:
        """Go on from what :attr:`state` and the weights were."""
        self.arrays = {name: weights[name] for name in self.arrays}
        if state:
            self._count = int(state["count"])
            self._mean, self._squares = state["mean"].copy(), state["squares"].copy()


def moments_of(observations: NDArray[Any]) -> tuple[int, Float64s, Float64s]:
    """Of observations [N, size]: N, their mean and sum of squared deviations from it, float64[size]."""
    from distpg.kernels.moments import moments

    count, size = observations.shape
    mean, squares = np.zeros((2, size))
    if size > 1:
        moments(observations, mean, squares)
        return count, mean, squares
    # A single column is added up in pairs, as it always was: the same runs, the same weights.
    numbers = observations.astype(np.float64)
    mean = np.add.reduce(numbers, axis=0) / count
    return count, mean, np.add.reduce(np.square(numbers - mean), axis=0)
