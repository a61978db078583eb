"""The gradient of any policy's loss over a batch, by torch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights, features, normalised
from distpg.learning.distributions import distribution
from distpg.learning.gradients import Differentiated, PolicyGradient, Terms
from distpg.learning.network import Differentiable, Inputs, Sums
from distpg.learning.policy_gradient import policy_gradient_loss, truncated_ratios


class TorchPolicyGradient(PolicyGradient):
    """Of any policy, at the weights that its network has.

    Args:
        keeps_outputs: Whether a divergence will be asked for.
    """

    def __init__(self, network: Differentiable, spec: PolicySpec, keeps_outputs: bool) -> None:
        self._network, self._spec, self._keeps_outputs = network, spec, keeps_outputs

    @override
    def differentiate(self, batch: EpisodeBatch, weights: Weights, terms: Terms) -> Differentiated:
        kept: dict[int, Tensor] = {}
        coef, then = terms.entropy_coef, terms.log_probs_then

        def loss(outputs: Tensor, rows: slice) -> tuple[Tensor | None, Sums]:
            policy = distribution(self._spec, outputs, _rows(batch.action_masks, rows))
            entropy_sum = float(policy.entropies.sum())
            if self._keeps_outputs:
                kept[rows.start] = outputs.clone()
            if terms.step_weights is None:
                return None, (0.0, entropy_sum)
            actions = batch.actions[rows]
            # torch.tensor copies to memory of torch's own alignment; kernels may differ by alignment.
            step_weights = torch.tensor(terms.step_weights[rows].astype(np.float32))
            log_probs = policy.log_probs(actions)
            if then is not None:
                step_weights *= truncated_ratios(log_probs, torch.tensor(then[rows]), terms.ratio_clip)
            bonus = coef * policy.entropies if coef > 0 else None
            value = policy_gradient_loss(log_probs, step_weights, terms.num_episodes, bonus)
            by_outputs = policy.gradient(actions, step_weights, terms.num_episodes, coef)
            return by_outputs, (float(value), entropy_sum)

        def divergence(now: Weights) -> float:
            return self._divergence(batch, kept, now)

        flat, (loss_sum, entropy_sum) = self._network.differentiate(
            batch.num_steps, self._inputs(batch, weights), loss
        )
        return Differentiated(flat.numpy(), loss_sum, entropy_sum, divergence)

    def _divergence(self, batch: EpisodeBatch, kept: dict[int, Tensor], now: Weights) -> float:
        def divergence(outputs: Tensor, rows: slice) -> tuple[None, Sums]:
            masks = _rows(batch.action_masks, rows)
            before = distribution(self._spec, kept[rows.start], masks)
            return None, (float(before.divergences(distribution(self._spec, outputs, masks)).sum()),)

        _, (total,) = self._network.differentiate(batch.num_steps, self._inputs(batch, now), divergence)
        return total / batch.num_steps

    def _inputs(self, batch: EpisodeBatch, weights: Weights) -> Inputs:
        """What the policy's first layer takes of the observations of some rows, float32[B, features]."""
        return lambda rows: features(normalised(batch.observations[rows], weights), self._spec.degree)


def _rows(masks: NDArray[np.bool_] | None, rows: slice) -> NDArray[np.bool_] | None:
    return None if masks is None else masks[rows]
