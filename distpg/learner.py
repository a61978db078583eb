"""The learner: policy, baseline and optimiser. Gradient of a batch, then a step along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.baselines import baseline_values
from distpg.config import TrainConfig
from distpg.episodes import EpisodeBatch
from distpg.policies import PolicySpec, Weights, initial_weights, preferences
from distpg.policy_gradient import policy_gradient_loss, scale_advantages


@dataclass(frozen=True)
class Gradient:
    """A gradient of the loss, and what was measured on the way to it.

    Attributes:
        values: float32 of each weight's shape, by its name; None where the batch says nothing.
        return_variance: Variance over the batch's steps of the returns, before normalisation.
        advantage_variance: The same of returns minus baseline.
    """

    values: dict[str, Tensor] | None
    loss: float
    norm: float
    policy_entropy: float
    return_variance: float
    advantage_variance: float


class Learner:
    """Holds the policy's weights and improves them, one batch at a time."""

    def __init__(self, config: TrainConfig, policy_spec: PolicySpec) -> None:
        torch.set_num_threads(config.learner_threads)
        self._config = config
        self.weights_seq_no = 0
        """Updates made so far."""
        self._parameters = {
            name: torch.tensor(array, requires_grad=True)
            for name, array in initial_weights(policy_spec, config.seed).items()
        }
        make_optimiser = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.optimiser]
        # foreach=False: one array after the other, whose arithmetic is the textbook's.
        self._optimiser = make_optimiser(self._parameters.values(), lr=config.lr, foreach=False)

    @property
    def weights(self) -> Weights:
        """A copy of the policy's weights, float32."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._parameters.items()}

    def update(self, batch: EpisodeBatch) -> Gradient:
        """One step of gradient ascent on J; none where the batch's advantages are rounding noise."""
        gradient = self.gradient(batch)
        self.step(gradient)
        return gradient

    def gradient(self, batch: EpisodeBatch) -> Gradient:
        """The gradient of the loss over a batch of whole episodes, at the current weights."""
        advantages = batch.returns - baseline_values(self._config.baseline, batch.returns, batch.lengths)
        scaled = scale_advantages(advantages, batch.returns, self._config.normalise_advantages)
        # torch.tensor copies to memory of torch's own alignment; kernels may differ by alignment.
        h = preferences(self._parameters, torch.tensor(batch.observations))
        log_pi = torch.log_softmax(h, dim=1)
        entropy = -(log_pi.detach().exp() * log_pi.detach()).sum(dim=1).mean()
        values, loss, norm = None, 0.0, 0.0
        if scaled is not None:
            values, loss, norm = self._differentiate(log_pi, batch, scaled)
        return Gradient(
            values=values,
            loss=loss,
            norm=norm,
            policy_entropy=float(entropy),
            return_variance=float(np.var(batch.returns, dtype=np.float64)),
            advantage_variance=float(np.var(advantages)),
        )

    def _differentiate(
        self, log_pi: Tensor, batch: EpisodeBatch, advantages: NDArray[np.float64]
    ) -> tuple[dict[str, Tensor], float, float]:
        actions = torch.tensor(batch.actions.astype(np.int64))
        chosen = log_pi.gather(1, actions[:, None])[:, 0]
        weights = torch.tensor(advantages.astype(np.float32))
        loss = policy_gradient_loss(chosen, weights, batch.num_episodes)
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        norm = float(
            torch.sqrt(sum((g.double().square().sum() for g in gradients), torch.zeros(()).double()))
        )
        return dict(zip(self._parameters, gradients, strict=True)), float(loss.detach()), norm

    def step(self, gradient: Gradient) -> None:
        """Let the optimiser move the weights along a gradient."""
        self.weights_seq_no += 1
        if gradient.values is None:
            return
        for name, parameter in self._parameters.items():
            parameter.grad = gradient.values[name]
        self._optimiser.step()
