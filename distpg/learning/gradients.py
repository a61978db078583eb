"""The gradient of a policy's loss over a batch: what every way to compute it offers, and the compiled one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights
from distpg.learning.compiled_gradient import CompiledGradient


@dataclass(frozen=True)
class Terms:
    """How a batch's steps count in its loss.

    Attributes:
        step_weights: Of each step's log-probability, [N]; None: nothing is to be learnt.
        num_episodes: What the sum over all steps is divided by.
        log_probs_then: float32[N], where older weights played the batch: each step's weight is multiplied by
            its ratio, at most ``ratio_clip``.
    """

    step_weights: NDArray[Any] | None
    num_episodes: int
    entropy_coef: float = 0.0
    log_probs_then: NDArray[np.float32] | None = None
    ratio_clip: float = 1.0


@dataclass(frozen=True)
class Differentiated:
    """A gradient by all learnt weights in their order, flat, the loss, and the sum of the entropies.

    ``divergence`` of weights from now on is the mean over the batch's states of KL(policy of the gradient ||
    policy of those).
    """

    flat: NDArray[np.floating[Any]]
    loss: float
    entropy_sum: float
    divergence: Callable[[Weights], float]


class PolicyGradient(Protocol):
    """Differentiates a policy's loss."""

    def differentiate(self, batch: EpisodeBatch, weights: Weights, terms: Terms) -> Differentiated:
        """At these weights, with what scales observations among them."""
        ...


class CompiledPolicyGradient(PolicyGradient):
    """Of a policy that :func:`has_compiled_gradient`."""

    def __init__(self, spec: PolicySpec) -> None:
        self._compiled = CompiledGradient(spec)

    @override
    def differentiate(self, batch: EpisodeBatch, weights: Weights, terms: Terms) -> Differentiated:
        step_weights, coef = terms.step_weights, terms.entropy_coef
        if step_weights is None:
            step_weights, coef = np.zeros(batch.num_steps), 0.0
        flat, loss_sum, entropy_sum, before = self._compiled.differentiate(
            weights,
            batch.observations,
            batch.actions,
            step_weights.astype(np.float32),
            coef,
            terms.log_probs_then,
            terms.ratio_clip,
        )

        def divergence(now: Weights) -> float:
            return self._compiled.divergence(before, now, batch.observations) / batch.num_steps

        loss = loss_sum / terms.num_episodes
        return Differentiated(flat / terms.num_episodes, loss, entropy_sum, divergence)

    def divergence(self, batch: EpisodeBatch, before: Weights, after: Weights) -> float:
        """The sum over the batch's states of KL(policy before || policy after)."""
        preferences = self._compiled.preferences(before, batch.observations)
        return self._compiled.divergence(preferences, after, batch.observations)
