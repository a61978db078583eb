"""How much each step's log-probability counts: advantages in scale, and discounted."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import step_numbers

Normalisation = Literal["none", "rms", "standardise"]

# Equal returns leave advantages of rounding noise, at most a few 1e-7 of the returns. Divided by their own
# size they would become full-size steps in a random direction.
NOISE = 1e-5


def scale_advantages(
    advantages: NDArray[np.float64], returns: NDArray[np.float32], kind: Normalisation
) -> NDArray[np.float64] | None:
    """Advantages divided by their root mean square (rms), or with zero mean and unit deviation (standardise).

    Both keep the size of a step independent of the size of rewards; both bias the gradient, since the divisor
    depends on the batch's own actions.

    Returns:
        float64[N], or None where the advantages float64[N] are rounding noise beside the returns float32[N]
        and no step should be taken: every episode of the batch did equally well, as at the top of CartPole.
    """
    if kind == "standardise":
        advantages = advantages - advantages.mean()
    size = _root_mean_square(advantages)
    if size <= NOISE * _root_mean_square(returns.astype(np.float64)):
        return None
    return advantages if kind == "none" else advantages / size


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return math.sqrt(np.add.reduce(np.square(values)) / len(values))


def discount_weights(gamma: float, lengths: NDArray[np.int32]) -> NDArray[np.float64]:
    """gamma^t for each of N steps, float64[N].

    With reward-to-go the gradient of the discounted J weights step t by gamma^t (Sutton and Barto,
    "Reinforcement Learning", 2nd edition, section 13.3). The article, as most code, leaves it out, which
    biases the gradient where gamma < 1.
    """
    weights: NDArray[np.float64] = np.power(float(gamma), step_numbers(lengths))
    return weights
