"""The learner: policy, baseline and optimiser. Gradient of a batch, then a step along it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.baselines import baseline_values
from distpg.config import TrainConfig
from distpg.episodes import EpisodeBatch
from distpg.errors import DivergenceError
from distpg.learner_state import LearnerState
from distpg.optimisers import make_optimiser, optimiser_state, restore_optimiser, restore_weights
from distpg.policies import PolicySpec, Weights, features, initial_weights, preferences
from distpg.policy_gradient import clip_by_norm, discount_weights, policy_gradient_loss, scale_advantages
from distpg.value_function import ValueFunction


@dataclass(frozen=True)
class Gradient:
    """A gradient of the loss, and what was measured on the way to it.

    Attributes:
        values: float32 of each weight's shape, by its name; None where the batch says nothing.
        norm: Its Euclidean norm, before clipping.
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
        self._degree = policy_spec.degree
        self.weights_seq_no = 0
        """Updates made so far."""
        self._earlier_weights: deque[Weights] = deque(maxlen=config.policy_lag)
        self._parameters = {
            name: torch.tensor(array, requires_grad=True)
            for name, array in initial_weights(policy_spec.layer_sizes, config.seed).items()
        }
        self._optimiser = make_optimiser(config.optimiser, self._parameters, config.lr, config.adam_eps)
        self._value: ValueFunction | None = None
        if config.baseline == "value":
            self._value = ValueFunction(
                policy_spec.observation_size,
                config.hidden_sizes,
                config.seed,
                config.value_lr,
                config.value_updates,
            )

    @property
    def weights(self) -> Weights:
        """A copy of the policy's weights, float32."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._parameters.items()}

    @property
    def earlier_weights(self) -> tuple[Weights, ...]:
        """Those of the last updates, as many as the policy lags, oldest first."""
        return tuple(self._earlier_weights)

    def update(self, batch: EpisodeBatch, lr: float | None = None) -> Gradient:
        """One step of gradient ascent on J; none where the batch's advantages are rounding noise.

        Args:
            lr: The step's learning rate; default: the configuration's.

        Raises:
            DivergenceError: The loss, its gradient or what came of it is NaN or infinite. The weights are
                of no use then.
        """
        gradient = self.gradient(batch)
        self._check_finite("loss", np.isfinite(gradient.loss))
        self._check_finite("gradient", np.isfinite(gradient.norm))
        self.step(gradient, lr)
        # Last: the batch's own gradient must not see a value function that was fitted to it.
        if self._value is not None:
            self._value.fit(batch.observations, batch.returns)
            self._check_finite("value function", self._value.is_finite)
        finite = all(bool(parameter.isfinite().all()) for parameter in self._parameters.values())
        self._check_finite("policy", finite)
        return gradient

    def _check_finite(self, what: str, is_finite: bool | np.bool_) -> None:
        if not is_finite:
            iteration = self.weights_seq_no + (what in ("loss", "gradient"))
            raise DivergenceError(
                f"the {what} is not finite in iteration {iteration}",
                "Likely causes: steps too large (lower --lr or --value-lr, or set --max-grad-norm), or "
                "rewards or observations of extreme size.",
            )

    def gradient(self, batch: EpisodeBatch) -> Gradient:
        """The gradient of the loss over a batch of whole episodes, at the current weights."""
        config = self._config
        advantages = batch.returns - self._baseline(batch)
        scaled = scale_advantages(advantages, batch.returns, config.normalise_advantages)
        # torch.tensor copies to memory of torch's own alignment; kernels may differ by alignment.
        h = preferences(self._parameters, torch.tensor(features(batch.observations, self._degree)))
        log_pi = torch.log_softmax(h, dim=1)
        entropy = -(log_pi.exp() * log_pi).sum(dim=1)
        values, loss, norm = None, 0.0, 0.0
        if scaled is not None or config.entropy_coef > 0:
            weights = np.zeros(batch.num_steps) if scaled is None else scaled
            if config.discount_weighting:
                weights = weights * discount_weights(config.gamma, batch.lengths)
            values, loss, norm = self._differentiate(log_pi, entropy, batch, weights)
        return Gradient(
            values=values,
            loss=loss,
            norm=norm,
            policy_entropy=float(entropy.detach().mean()),
            return_variance=float(np.var(batch.returns, dtype=np.float64)),
            advantage_variance=float(np.var(advantages)),
        )

    def _baseline(self, batch: EpisodeBatch) -> NDArray[np.float64]:
        kind = self._config.baseline
        if kind != "value":
            return baseline_values(kind, batch.returns, batch.lengths)
        assert self._value is not None
        return self._value.predict(batch.observations)

    def _differentiate(
        self, log_pi: Tensor, entropy: Tensor, batch: EpisodeBatch, step_weights: NDArray[np.float64]
    ) -> tuple[dict[str, Tensor], float, float]:
        coefficient = self._config.entropy_coef
        actions = torch.tensor(batch.actions.astype(np.int64))
        loss = policy_gradient_loss(
            log_pi.gather(1, actions[:, None])[:, 0],
            torch.tensor(step_weights.astype(np.float32)),
            batch.num_episodes,
            coefficient * entropy if coefficient > 0 else None,
        )
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        norm = float(
            torch.sqrt(sum((g.double().square().sum() for g in gradients), torch.zeros(()).double()))
        )
        return dict(zip(self._parameters, gradients, strict=True)), float(loss.detach()), norm

    def step(self, gradient: Gradient, lr: float | None = None) -> None:
        """Let the optimiser move the weights along a gradient, clipped if the configuration says so."""
        self.weights_seq_no += 1
        if self._config.policy_lag:
            self._earlier_weights.append(self.weights)
        if gradient.values is None:
            return
        clipped = clip_by_norm(gradient.values, gradient.norm, self._config.max_grad_norm)
        for name, parameter in self._parameters.items():
            parameter.grad = clipped[name]
        for group in self._optimiser.param_groups:
            group["lr"] = self._config.lr if lr is None else lr
        self._optimiser.step()

    @property
    def state(self) -> LearnerState:
        """A copy of all that decides how the learner goes on."""
        optimiser = optimiser_state(self._optimiser, self._parameters)
        if self._value is None:
            return LearnerState(self.weights, optimiser, self.weights_seq_no, self.earlier_weights)
        return LearnerState(
            self.weights,
            optimiser,
            self.weights_seq_no,
            self.earlier_weights,
            self._value.weights,
            self._value.optimiser_state,
            self._value.moments,
        )

    def restore(self, state: LearnerState) -> None:
        """Go on from an earlier state, bit for bit."""
        self.weights_seq_no = state.weights_seq_no
        self._earlier_weights.extend(state.earlier_weights)
        restore_weights(self._parameters, state.weights)
        restore_optimiser(self._optimiser, self._parameters, state.optimiser)
        if self._value is not None:
            self._value.restore(state.value_weights, state.value_optimiser, state.value_moments)
