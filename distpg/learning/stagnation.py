"""Training that stands still, from what each iteration shows: said once, with the likely cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distpg.core.events import TrainingStalled
from distpg.core.summaries import Summary

if TYPE_CHECKING:
    from distpg.learning.learner import Gradient

_IN_A_ROW = 10
# Nats: an action in a hundred or so is still another one.
_CERTAIN = 1e-2
# Beside the largest gradient so far, and by itself.
_GONE, _GONE_ALTOGETHER = 1e-4, 1e-6
# Policies start from weights that suit observations of about 1.
_LARGE = 100.0
# The smallest that float32 holds with all its digits.
_TINY = 1e-37


class Watch:
    """Sees every iteration.

    Args:
        goal: The mean return that counts as solved; None: there is none.
        is_new: Whether it sees the run from its first iteration on.
    """

    def __init__(self, goal: float | None, is_new: bool) -> None:
        self._goal = goal
        self._is_new = is_new
        self._first_mean: float | None = None
        self._largest_norm = 0.0
        self._in_a_row = {"dead": 0, "noise": 0}

    def see(self, summary: Summary, gradient: Gradient) -> list[TrainingStalled]:
        """What is to be said after this iteration."""
        returns = summary.episode_returns
        mean = float(returns.mean())
        if self._first_mean is None and self._is_new:
            self._first_mean = mean
        self._largest_norm = max(self._largest_norm, gradient.norm)
        gone = max(_GONE * self._largest_norm, _GONE_ALTOGETHER)
        is_dead = (
            gradient.policy_entropy < _CERTAIN and gradient.norm <= gone and not self._is_well(mean, summary)
        )
        # Equal returns, as at the top of CartPole, leave nothing to be learnt, and rightly so.
        spread = float(returns.max() - returns.min())
        is_noise = gradient.is_noise and spread > 1e-9 * float(np.abs(returns).max())
        said = []
        if self._for_long("dead", is_dead):
            said.append(_dead(summary, gradient, mean))
        if self._for_long("noise", is_noise):
            said.append(_noise(summary))
        return said

    def _for_long(self, what: str, is_so: bool) -> bool:
        """Whether it is so for the tenth iteration in a row, and for the first time in this run."""
        if self._in_a_row[what] < _IN_A_ROW:
            self._in_a_row[what] = self._in_a_row[what] + 1 if is_so else 0
            return self._in_a_row[what] == _IN_A_ROW
        return False

    def _is_well(self, mean: float, summary: Summary) -> bool:
        """Whether a policy that does not change any more may be a good one."""
        if self._goal is not None:
            return mean >= self._goal
        has_improved = self._first_mean is None or mean > self._first_mean
        return has_improved and _size(summary) < _LARGE


def _size(summary: Summary) -> float:
    return max(-summary.low, summary.high)


def _dead(summary: Summary, gradient: Gradient, mean: float) -> TrainingStalled:
    why = (
        f"for {_IN_A_ROW} iterations the policy has been certain of its actions "
        f"(entropy {gradient.policy_entropy:.1g}) and had no gradient ({gradient.norm:.1g}), "
        f"at a mean return of {mean:.6g}"
    )
    low, high = summary.low, summary.high
    hint = (
        "Start anew with a lower --lr, or with an --entropy-coef, 0.01 for instance."
        if _size(summary) < _LARGE
        else f"Observations range from {low:.6g} to {high:.6g}: scale them to about -1 to 1, "
        "in the environment or with gymnasium.wrappers.TransformObservation."
    )
    return TrainingStalled(why, hint)


def _noise(summary: Summary) -> TrainingStalled:
    low, high = float(summary.episode_returns.min()), float(summary.episode_returns.max())
    skipped = f"{_IN_A_ROW} updates in a row were skipped"
    if max(-low, high) < _TINY:
        why = f"{skipped}: returns from {low:.1g} to {high:.1g} are too small for float32"
        return TrainingStalled(why, "Multiply the rewards in the environment, so that they are about 1.")
    why = f"{skipped}: returns from {low:.8g} to {high:.8g} differ by no more than rounding noise"
    return TrainingStalled(why, "Leave out what all rewards have in common, in the environment.")
