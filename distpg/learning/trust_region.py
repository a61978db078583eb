"""Steps no longer than what they change of the policy may be."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# A try shortens a step to where the divergence would be the limit if it grew with the step's square, as it
# does for short steps. One that is a little over is let pass.
_TRIES, _TOLERANCE, _SHORTEST = 10, 1.25, 0.1


def shorten_step(weights: Tensor, before: Tensor, limit: float, divergence: Callable[[], float]) -> float:
    """Shorten the step from ``before`` until the divergence is at most about ``limit``; what it is then.

    Source: Schulman et al., "Trust region policy optimization" (2015), section 4, whose constraint this is:
    the mean over states of KL(policy before || policy after). The direction is left as it is.

    Args:
        weights: float32[W], where the step ended; changed in place, but for a divergence that is not finite.
        divergence: That of the policy with these weights, which it looks at.
    """
    for _ in range(_TRIES):
        found = divergence()
        if not found > _TOLERANCE * limit or math.isinf(found):
            return found
        torch.lerp(before, weights, max(_SHORTEST, math.sqrt(limit / found)), out=weights)
    weights.copy_(before)
    return 0.0
