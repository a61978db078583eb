"""The gradient in two passes over episodes that stay where they were played.

The first pass gives statistics of each task's episodes, to which the baseline and the scale of the advantages
are fitted; the second, given that :class:`Fit`, the sums over the task's steps. All of it adds up over tasks,
in their order, to what the learner computes from the whole batch (article, REINFORCE with baseline): to 1e-6.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch, step_numbers
from distpg.core.policies import Weights
from distpg.core.summaries import Summary, joined, summary_of
from distpg.learning.baselines import Baseline, baseline_values
from distpg.learning.normalisation import moments_of
from distpg.learning.scaling import NOISE, discount_weights

Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    """What the passes of a run are to give.

    Attributes:
        by_step: Whether the baseline needs returns by their step's number in its episode.
        moments: Whether observations are to be normalised by their mean and deviation.
        gamma: Discounts step t by gamma^t; None: nothing is.
        policy_lag: For so many iterations episodes may be asked about after they were played.
    """

    by_step: bool
    moments: bool
    gamma: float | None
    ratio_clip: float
    policy_lag: int


def wanted_by(config: TrainConfig) -> Wanted:
    """What a resolved configuration needs."""
    return Wanted(
        config.baseline == "timestep",
        config.normalise_observations == "running",
        config.gamma if config.discount_weighting else None,
        config.ratio_clip,
        config.policy_lag,
    )


@dataclass(frozen=True)
class Statistics:
    """Of the episodes of one task.

    Attributes:
        return_sums, return_squares: float64[E], over each episode's steps.
        by_step: float64[2, T], the sums over episodes of their returns at step t, and of the squares; of
            length 0 where nobody asks for them.
        moments: float64[2, observation size], of the observations mean and sum of squared deviations;
            likewise.
    """

    summary: Summary
    return_sums: Float64s
    return_squares: Float64s
    by_step: Float64s
    moments: Float64s

    @property
    def digest(self) -> str:
        """First 16 hex digits of SHA-256 over all of it."""
        numbers = (self.return_sums, self.return_squares, self.by_step, self.moments)
        return _digest(*self.summary.arrays, *numbers, text=repr(self.summary.texts))


def statistics_of(batch: EpisodeBatch, wanted: Wanted) -> Statistics:
    """The first pass over a task's episodes."""
    returns = batch.returns.astype(np.float64)
    squares, starts = np.square(returns), batch.starts
    by_step, moments = np.zeros((2, 0)), np.zeros((2, 0))
    if wanted.by_step:
        t = step_numbers(batch.lengths)
        by_step = np.stack([np.bincount(t, weights=values) for values in (returns, squares)])
    if wanted.moments:
        _, *both = moments_of(batch.observations)
        moments = np.stack(both)
    sums, square_sums = (np.add.reduceat(values, starts) for values in (returns, squares))
    return Statistics(summary_of(batch), sums, square_sums, by_step, moments)


@dataclass(frozen=True)
class Fit:
    """How a step's advantage comes of its return, given all episodes of the iteration.

    The advantage is ((return - baseline) / unit - mean) / size.

    Attributes:
        num_episodes: Of the iteration.
        total, num_steps: The sum of its returns, and their number.
        by_step: float64[T], the sums over episodes of the returns at step t, where the baseline needs them.
    """

    baseline: Baseline
    num_episodes: int
    total: float
    num_steps: int
    by_step: Float64s
    unit: float = 1.0
    mean: float = 0.0
    size: float = 1.0

    def advantages(self, batch: EpisodeBatch) -> Float64s:
        """Of the steps of a task's episodes, float64[N]."""
        returns = batch.returns.astype(np.float64)
        return ((returns - self._baseline(batch, returns)) / self.unit - self.mean) / self.size

    def _baseline(self, batch: EpisodeBatch, returns: Float64s) -> Float64s:
        """As :func:`baseline_values` of the whole iteration."""
        if self.baseline in ("none", "episode"):
            return baseline_values(self.baseline, batch.returns, batch.lengths)
        if self.num_episodes == 1:
            return np.zeros_like(returns)
        if self.baseline == "timestep":
            return (self.by_step[step_numbers(batch.lengths)] - returns) / (self.num_episodes - 1)
        own = np.add.reduceat(returns, batch.starts)
        return np.repeat((self.total - own) / (self.num_steps - batch.lengths), batch.lengths)


@dataclass(frozen=True)
class Gathered:
    """The statistics of all tasks of an iteration, in order; they are of all its episodes."""

    parts: tuple[Statistics, ...]

    @property
    def summary(self) -> Summary:
        """Of all."""
        return joined([part.summary for part in self.parts])

    @property
    def by_step(self) -> Float64s:
        """As of :class:`Statistics`, as long as the longest episode."""
        sums = np.zeros((2, max(part.by_step.shape[1] for part in self.parts)))
        for part in self.parts:
            sums[:, : part.by_step.shape[1]] += part.by_step
        return sums

    @property
    def return_moments(self) -> tuple[int, float, float]:
        """Number of the returns, their mean, and the sum of squared deviations from it."""
        count = self.summary.num_steps
        total = float(np.concatenate([part.return_sums for part in self.parts]).sum())
        squares = float(np.concatenate([part.return_squares for part in self.parts]).sum())
        return count, total / count, max(0.0, squares - total * total / count)


@dataclass(frozen=True)
class Fitted:
    """A fit, or None where the advantages are rounding noise; and the variances over all steps."""

    fit: Fit | None
    return_variance: float
    advantage_variance: float


def fitted(gathered: Gathered, baseline: Baseline, normalisation: str, unit: float) -> Fitted:
    """The baseline and the scale of the advantages, from the first pass.

    Args:
        normalisation: As :func:`distpg.learning.scaling.scale_advantages`.
        unit: What returns are divided by.
    """
    summary = gathered.summary
    lengths, count = summary.lengths.astype(np.float64), summary.num_steps
    sums = np.concatenate([part.return_sums for part in gathered.parts])
    squares = np.concatenate([part.return_squares for part in gathered.parts])
    by_step = gathered.by_step
    fit = Fit(baseline, len(lengths), float(sums.sum()), count, by_step[0], unit)
    if baseline == "timestep" and fit.num_episodes > 1:
        others = fit.num_episodes - 1
        # Of n that are at step t: a = g (1 + 1 / others) - c / others, c being the sum at that step.
        at_step = np.bincount(step_numbers(summary.lengths)).astype(np.float64)
        (c, q), own = by_step, 1 + 1 / others
        total = float((c * own - at_step * c / others).sum())
        square = float((q * own**2 - 2 * own * c * c / others + at_step * np.square(c / others)).sum())
    else:
        values = np.zeros_like(sums)
        if baseline == "episode":
            values = sums / lengths
        elif baseline == "batch" and fit.num_episodes > 1:
            values = (fit.total - sums) / (count - lengths)
        total = float((sums - lengths * values).sum())
        square = float((squares - 2 * values * sums + lengths * np.square(values)).sum())
    mean, square = total / count, max(0.0, square / count)
    return_square = float(squares.sum()) / count
    variances = max(0.0, return_square - (fit.total / count) ** 2), max(0.0, square - mean * mean)
    spread = variances[1] if normalisation == "standardise" else square
    if spread <= NOISE**2 * return_square:
        return Fitted(None, *variances)
    scale = {} if normalisation == "none" else {"size": math.sqrt(spread) / unit}
    if normalisation == "standardise":
        scale["mean"] = mean / unit
    return Fitted(Fit(**(vars(fit) | scale)), *variances)


@dataclass(frozen=True)
class Question:
    """What the second pass, and those that a trust region needs, ask about each task's episodes.

    Attributes:
        weights: Of the policy that is differentiated.
        fit: None: nothing is to be learnt, but from entropies.
        is_lagged: Whether older weights played the episodes.
        others: Weights after a step: asked is how far they are from ``weights``, and nothing else.
    """

    weights: Weights
    fit: Fit | None = None
    entropy_coef: float = 0.0
    is_lagged: bool = False
    others: Weights | None = None


@dataclass(frozen=True)
class Sums:
    """Over the steps of a task's episodes.

    Attributes:
        gradient: float64, of the loss, flat by all learnt weights in their order; empty of a divergence.
        loss, entropy: Where the question is of a divergence, that is in ``loss``.
    """

    gradient: Float64s
    loss: float
    entropy: float = 0.0

    @property
    def digest(self) -> str:
        """First 16 hex digits of SHA-256 over all of it."""
        return _digest(self.gradient, np.array([self.loss, self.entropy]))


@dataclass(frozen=True)
class AtRunners:
    """Episodes of an iteration that stay with the runners: what is known of them, and whom to ask for more.

    ``ask`` gives each task's answer, in order.
    """

    gathered: Gathered
    ask: Callable[[Question], Sequence[Sums]]


def step_weights(batch: EpisodeBatch, fit: Fit | None, gamma: float | None) -> Float64s | None:
    """What each step's log-probability is multiplied by, float64[N]; None: nothing is to be learnt."""
    if fit is None:
        return None
    advantages = fit.advantages(batch)
    return advantages if gamma is None else advantages * discount_weights(gamma, batch.lengths)


def total(parts: Sequence[Sums]) -> Sums:
    """All of them added up, in order."""
    gradient = np.zeros_like(parts[0].gradient)
    for part in parts:
        gradient += part.gradient
    return Sums(gradient, sum(part.loss for part in parts), sum(part.entropy for part in parts))


def _digest(*arrays: NDArray[Any], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
