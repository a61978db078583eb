"""The learner: policy, baseline and optimiser. Gradient of a batch, then a step along it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights, features, initial_weights
from distpg.errors import DivergenceError
from distpg.learning.baselines import baseline_values
from distpg.learning.learner_state import LearnerState
from distpg.learning.network import Network, Sums
from distpg.learning.optimisers import Optimiser
from distpg.learning.policy_gradient import (
    clip_by_norm,
    discount_weights,
    entropies,
    policy_gradient_loss,
    preference_gradient,
    scale_advantages,
    truncated_ratios,
)
from distpg.learning.settings import own_settings
from distpg.learning.value_function import ValueFunction


@dataclass(frozen=True)
class Gradient:
    """A gradient of the loss, and what was measured on the way to it.

    Attributes:
        flat: float32, by all weights in their order; None where the batch says nothing.
        norm: Its Euclidean norm, before clipping.
        return_variance: Variance over the batch's steps of the returns, before normalisation.
        advantage_variance: The same of returns minus baseline.
        is_noise: Whether the advantages are rounding noise beside the returns.
    """

    flat: Tensor | None
    loss: float
    norm: float
    policy_entropy: float
    return_variance: float
    advantage_variance: float
    is_noise: bool


class Learner:
    """Holds the policy's weights and improves them, one batch at a time."""

    @own_settings()
    def __init__(self, config: TrainConfig, policy_spec: PolicySpec) -> None:
        self._config = config
        self._degree = policy_spec.degree
        self.weights_seq_no = 0
        """Updates made so far."""
        self.earlier_weights: tuple[Weights, ...] = ()
        """Those of the last updates, as many as the policy lags, oldest first."""
        weights = initial_weights(policy_spec.layer_sizes, config.seed)
        self._network = Network(weights, config.learner_threads)
        self._optimiser = Optimiser(config.optimiser, self._network, config.adam_eps)
        has_value = config.baseline == "value"
        self._value = ValueFunction(config, policy_spec.observation_size) if has_value else None

    @property
    def weights(self) -> Weights:
        """A copy of the policy's weights, float32."""
        return self._network.weights

    @own_settings()
    def update(self, batch: EpisodeBatch, lr: float | None = None) -> Gradient:
        """One step of gradient ascent on J; none where the batch's advantages are rounding noise.

        Raises DivergenceError where the loss, its gradient or what came of it is not finite: the weights are
        of no use then. ``lr`` is the configuration's by default.
        """
        gradient = self.gradient(batch)
        self._check_finite("loss", math.isfinite(gradient.loss))
        self._check_finite("gradient", math.isfinite(gradient.norm))
        self.step(gradient, lr)
        # The squares of finite numbers may not be; divided by them the weights would never move again.
        self._check_finite("square of the gradient", self._optimiser.is_finite)
        # Last: the batch's own gradient must not see a value function that was fitted to it.
        if self._value is not None:
            self._value.fit(batch.observations, batch.returns)
            self._check_finite("value function", self._value.is_finite)
        self._check_finite("policy", self._network.is_finite)
        return gradient

    def _check_finite(self, what: str, is_finite: bool) -> None:
        if not is_finite:
            iteration = self.weights_seq_no + (what in ("loss", "gradient"))
            raise DivergenceError(
                f"the {what} is not finite in iteration {iteration}",
                "Likely causes: steps too large (lower --lr or --value-lr, or set --max-grad-norm), or "
                "rewards, observations or an --entropy-coef of extreme size.",
            )

    def gradient(self, batch: EpisodeBatch) -> Gradient:
        """The gradient of the loss over a batch of whole episodes, at the current weights.

        Where older weights played the batch, each step's term is multiplied by how much likelier its action
        is now, at most ``ratio_clip``; the entropy's is not. Without log-probabilities: ValueError.
        """
        config = self._config
        is_lagged = batch.weights_seq_no != self.weights_seq_no
        if config.policy_lag > 0 and is_lagged and batch.log_probs is None:
            raise ValueError("a batch that older weights played needs its log-probabilities")
        log_probs_then = batch.log_probs if is_lagged else None
        returns = batch.returns.astype(np.float64)
        if config.baseline == "value":
            assert self._value is not None
            advantages = returns - self._value.predict(batch.observations)
        else:
            advantages = returns - baseline_values(config.baseline, batch.returns, batch.lengths)
        scaled = scale_advantages(advantages, batch.returns, config.normalise_advantages)
        step_weights = self._step_weights(scaled, batch)

        def loss(h: Tensor, rows: slice) -> tuple[Tensor | None, Sums]:
            log_pi = torch.log_softmax(h, dim=0)
            entropy = entropies(log_pi)
            entropy_sum = float(entropy.sum())
            if step_weights is None:
                return None, (0.0, entropy_sum)
            actions = torch.from_numpy(batch.actions[rows].astype(np.int64))
            # torch.tensor copies to memory of torch's own alignment; kernels may differ by alignment.
            weights = torch.tensor(step_weights[rows].astype(np.float32))
            log_probs = log_pi.gather(0, actions[None])[0]
            if log_probs_then is not None:
                then = torch.tensor(log_probs_then[rows])
                weights *= truncated_ratios(log_probs, then, config.ratio_clip)
            bonus = config.entropy_coef * entropy if config.entropy_coef > 0 else None
            value = policy_gradient_loss(log_probs, weights, batch.num_episodes, bonus)
            by_h = preference_gradient(log_pi, actions, weights, batch.num_episodes, config.entropy_coef)
            return by_h, (float(value), entropy_sum)

        flat, (loss_sum, entropy_sum) = self._network.differentiate(
            batch.num_steps, lambda rows: features(batch.observations[rows], self._degree), loss
        )
        return Gradient(
            flat=None if step_weights is None else flat,
            loss=loss_sum,
            norm=float(torch.linalg.vector_norm(flat, dtype=torch.float64)),
            policy_entropy=entropy_sum / batch.num_steps,
            return_variance=_variance(returns),
            advantage_variance=_variance(advantages),
            is_noise=scaled is None,
        )

    def _step_weights(
        self, scaled: NDArray[np.float64] | None, batch: EpisodeBatch
    ) -> NDArray[np.float64] | None:
        """What each step's log-probability is multiplied by; None where there is nothing to learn."""
        config = self._config
        if scaled is None:
            return np.zeros(batch.num_steps) if config.entropy_coef > 0 else None
        if config.discount_weighting:
            scaled = scaled * discount_weights(config.gamma, batch.lengths)
        return scaled

    def step(self, gradient: Gradient, lr: float | None = None) -> None:
        """Let the optimiser move the weights along a gradient, clipped if the configuration says so."""
        self.weights_seq_no += 1
        if self._config.policy_lag:
            self.earlier_weights = (*self.earlier_weights, self.weights)[-self._config.policy_lag :]
        if gradient.flat is None:
            return
        clipped = clip_by_norm(gradient.flat, gradient.norm, self._config.max_grad_norm)
        self._optimiser.step(clipped, self._config.lr if lr is None else lr)

    @property
    def state(self) -> LearnerState:
        """A copy of all that decides how the learner goes on."""
        return LearnerState(
            self.weights,
            self._optimiser.state,
            self.weights_seq_no,
            self.earlier_weights,
            None if self._value is None else self._value.state,
        )

    @own_settings()
    def restore(self, state: LearnerState) -> None:
        """Go on from an earlier state, bit for bit."""
        self.weights_seq_no = state.weights_seq_no
        self.earlier_weights = state.earlier_weights
        self._network.restore(state.weights)
        self._optimiser.restore(state.optimiser)
        if self._value is not None:
            assert state.value is not None
            self._value.restore(state.value)


def _variance(values: NDArray[np.float64]) -> float:
    # As np.var, whose own preparations cost more than a small batch's numbers.
    differences = values - np.add.reduce(values) / len(values)
    differences *= differences
    return float(np.add.reduce(differences) / len(values))
