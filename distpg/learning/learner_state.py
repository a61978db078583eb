"""What a learner goes on from: plain arrays and numbers, read and written without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import Weights


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of all returns seen, in float64.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979).
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float32]) -> Moments:
        """These values counted too."""
        numbers = values.astype(np.float64)
        mean = float(numbers.mean())
        return self.merged(len(numbers), mean, float(np.square(numbers - mean).sum()))

    def merged(self, count: int, mean: float, squares: float) -> Moments:
        """So many values more, of which these are the moments."""
        both, difference = self.count + count, mean - self.mean
        return Moments(
            count=both,
            mean=self.mean + difference * count / both,
            squares=self.squares + squares + difference**2 * self.count * count / both,
        )

    @property
    def deviation(self) -> float:
        """Standard deviation; 1 where all values are (nearly) equal, so that dividing by it is safe."""
        deviation = float(np.sqrt(self.squares / self.count)) if self.count else 0.0
        return deviation if deviation > 1e-8 * max(1.0, abs(self.mean)) else 1.0


@dataclass(frozen=True)
class ValueState:
    """All that decides how a value function goes on."""

    weights: Weights = field(default_factory=dict)
    optimiser: Weights = field(default_factory=dict)
    moments: Moments = Moments()


@dataclass(frozen=True)
class LearnerState:
    """All that decides how a learner goes on.

    Attributes:
        earlier_weights: Those of the last updates before these, as many as the policy lags, oldest first.
        value: Of the value function, where the baseline is one.
        observations: What their running mean and deviation go on from, float64: ``count``, ``mean`` and
            ``squares``; empty where there are none.
        returns: What their running deviation goes on from.
    """

    weights: Weights
    optimiser: Weights
    weights_seq_no: int
    earlier_weights: tuple[Weights, ...] = ()
    value: ValueState | None = None
    observations: dict[str, NDArray[Any]] = field(default_factory=dict)
    returns: Moments = Moments()
