"""The learner: policy, baseline and optimiser. Gradient of a batch, then a step along it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights, normalised
from distpg.errors import DivergenceError
from distpg.learning.baselines import baseline_values
from distpg.learning.gae import generalised_advantages
from distpg.learning.gradients import CompiledPolicyGradient, PolicyGradient, Terms
from distpg.learning.learner_state import LearnerState, Moments
from distpg.learning.modules import ModuleNetwork, module_weights
from distpg.learning.network import Differentiable, Inputs, Network
from distpg.learning.normalisation import ObservationNormaliser
from distpg.learning.optimisers import Optimiser
from distpg.learning.passes import AtRunners, Gathered, Question, fitted, total
from distpg.learning.policy_gradient import clip_by_norm
from distpg.learning.scaling import discount_weights, scale_advantages
from distpg.learning.settings import own_settings
from distpg.learning.torch_gradient import TorchPolicyGradient
from distpg.learning.trust_region import shorten_step
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
        divergence: As of :class:`distpg.learning.gradients.Differentiated`.
        value_targets: What the value function is fitted to, float32[N].
    """

    flat: Tensor | None
    loss: float
    norm: float
    policy_entropy: float
    return_variance: float
    advantage_variance: float
    is_noise: bool
    divergence: Callable[[Weights], float] = lambda weights: 0.0
    value_targets: NDArray[np.float32] | None = None


class Learner:
    """Holds the policy's weights and improves them, one batch at a time."""

    @own_settings()
    def __init__(self, config: TrainConfig, policy_spec: PolicySpec) -> None:
        self._config = config
        self._spec = policy_spec
        self.weights_seq_no = 0
        """Updates made so far."""
        self.earlier_weights: tuple[Weights, ...] = ()
        """Those of the last updates, as many as the policy lags, oldest first."""
        if policy_spec.module:
            weights = module_weights(policy_spec, config.seed)
            self._network: Differentiable = ModuleNetwork(policy_spec, weights, config.seed)
        else:
            weights = policy_spec.initial_weights(config.seed)
            self._network = Network(weights, config.learner_threads)
        self._policy_gradient: PolicyGradient = (
            CompiledPolicyGradient(policy_spec)
            if config.sampler == "compiled"
            else TorchPolicyGradient(self._network, policy_spec, keeps_outputs=config.max_kl is not None)
        )
        self._normaliser = ObservationNormaliser(policy_spec, weights)
        self._return_moments = Moments()
        self._optimiser = Optimiser(config.optimiser, self._network, config.adam_eps)
        has_value = config.baseline == "value"
        self._value = ValueFunction(config, policy_spec.observation_size) if has_value else None

    @property
    def weights(self) -> Weights:
        """A copy of the policy's weights, float32, with what scales its observations."""
        return self._network.weights | self._normaliser.arrays

    @own_settings()
    def update(
        self, episodes: EpisodeBatch | AtRunners, lr: float | None = None, entropy_coef: float | None = None
    ) -> Gradient:
        """One step of gradient ascent on J; none where the episodes' advantages are rounding noise.

        Raises DivergenceError where the loss, its gradient or what came of it is not finite: the weights are
        of no use then. ``lr`` and ``entropy_coef`` are the configuration's by default.
        """
        coef = self._config.entropy_coef if entropy_coef is None else entropy_coef
        if isinstance(episodes, AtRunners):
            gradient = self._gradient_at_runners(episodes, coef)
        else:
            gradient = self.gradient(episodes, coef)
        self._check_finite("loss", math.isfinite(gradient.loss))
        self._check_finite("gradient", math.isfinite(gradient.norm))
        before = self._network.flat.clone()
        self.step(gradient, lr)
        if gradient.flat is not None and self._config.max_kl is not None:
            change = shorten_step(
                self._network.flat, before, self._config.max_kl, lambda: gradient.divergence(self.weights)
            )
            self._check_finite("change of the policy", math.isfinite(change))
        # The squares of finite numbers may not be; divided by them the weights would never move again.
        self._check_finite("square of the gradient", self._optimiser.is_finite)
        # Last: the episodes' own gradient must not see what is learnt from them beside it.
        if isinstance(episodes, AtRunners):
            self._remember_moments(episodes.gathered)
        else:
            self._remember(episodes, gradient)
        self._check_finite("observations' deviation", self._normaliser.is_finite)
        self._check_finite("policy", self._network.is_finite)
        return gradient

    def _remember(self, batch: EpisodeBatch, gradient: Gradient) -> None:
        """Let a batch count for value function and normalisers."""
        if self._value is not None:
            assert gradient.value_targets is not None
            self._value.fit(self._seen(batch), gradient.value_targets, self.weights_seq_no)
            self._check_finite("value function", self._value.is_finite)
        self._normaliser.add(batch.observations)
        if self._config.normalise_returns == "running":
            self._return_moments = self._return_moments.add(batch.returns)

    def _remember_moments(self, gathered: Gathered) -> None:
        """As :meth:`_remember`, of episodes that are elsewhere."""
        self._normaliser.add_moments([(part.summary.num_steps, *part.moments) for part in gathered.parts])
        if self._config.normalise_returns == "running":
            self._return_moments = self._return_moments.merged(*gathered.return_moments)

    def _check_finite(self, what: str, is_finite: bool) -> None:
        if not is_finite:
            iteration = self.weights_seq_no + (what in ("loss", "gradient"))
            raise DivergenceError(
                f"the {what} is not finite in iteration {iteration}",
                "Likely causes: steps too large (lower --lr or --value-lr, or set --max-grad-norm), or "
                "rewards, observations or an --entropy-coef of extreme size.",
            )

    def gradient(self, batch: EpisodeBatch, entropy_coef: float | None = None) -> Gradient:
        """The gradient of the loss over a batch of whole episodes, at the current weights.

        Where older weights played the batch, each step's term is multiplied by how much likelier its action
        is now, at most ``ratio_clip``; the entropy's is not. Without log-probabilities: ValueError.
        """
        config = self._config
        coef = config.entropy_coef if entropy_coef is None else entropy_coef
        is_lagged = batch.weights_seq_no != self.weights_seq_no
        if config.policy_lag > 0 and is_lagged and batch.log_probs is None:
            raise ValueError("a batch that older weights played needs its log-probabilities")
        log_probs_then = batch.log_probs if is_lagged else None
        advantages, targets = self._advantages(batch)
        unit = self._unit
        scaled = scale_advantages(advantages / unit, batch.returns / unit, config.normalise_advantages)
        terms = Terms(
            self._step_weights(scaled, batch, coef),
            batch.num_episodes,
            coef,
            log_probs_then,
            config.ratio_clip,
        )
        found = self._policy_gradient.differentiate(batch, self.weights, terms)
        flat = torch.from_numpy(found.flat.astype(np.float32, copy=False))
        return Gradient(
            flat=None if terms.step_weights is None else flat,
            loss=found.loss,
            norm=_norm(flat),
            policy_entropy=found.entropy_sum / batch.num_steps,
            return_variance=_variance(batch.returns.astype(np.float64)),
            advantage_variance=_variance(advantages),
            is_noise=scaled is None,
            divergence=found.divergence,
            value_targets=targets,
        )

    @property
    def _unit(self) -> float:
        """What returns are divided by."""
        return self._return_moments.deviation if self._config.normalise_returns == "running" else 1.0

    def _gradient_at_runners(self, episodes: AtRunners, entropy_coef: float) -> Gradient:
        """As :meth:`gradient`, in two passes: the sums over steps come from where the episodes are."""
        config, gathered = self._config, episodes.gathered
        summary, before = gathered.summary, self.weights
        assert config.baseline != "value"  # the configuration refuses it
        found = fitted(gathered, config.baseline, config.normalise_advantages, self._unit)
        is_lagged = summary.weights_seq_no != self.weights_seq_no
        sums = total(episodes.ask(Question(before, found.fit, entropy_coef, is_lagged)))

        def divergence(now: Weights) -> float:
            return total(episodes.ask(Question(before, others=now))).loss / summary.num_steps

        flat = torch.from_numpy((sums.gradient / summary.num_episodes).astype(np.float32))
        return Gradient(
            flat=None if found.fit is None and entropy_coef == 0 else flat,
            loss=sums.loss / summary.num_episodes,
            norm=_norm(flat),
            policy_entropy=sums.entropy / summary.num_steps,
            return_variance=found.return_variance,
            advantage_variance=found.advantage_variance,
            is_noise=found.fit is None,
            divergence=divergence,
        )

    def _advantages(self, batch: EpisodeBatch) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Of each step, float64[N]; and what the value function is to be fitted to, float32[N]."""
        config, returns = self._config, batch.returns.astype(np.float64)
        if config.baseline != "value":
            return returns - baseline_values(config.baseline, batch.returns, batch.lengths), batch.returns
        assert self._value is not None
        values = self._value.predict(self._seen(batch), batch.num_steps)
        if config.gae_lambda is None:
            return returns - values, batch.returns
        if batch.rewards is None or batch.final_observations is None:
            raise ValueError("generalised advantages need rewards and final observations in the batch")
        arrays, finals = self._normaliser.arrays, batch.final_observations
        after = self._value.predict(lambda rows: normalised(finals[rows], arrays), len(finals))
        after[batch.terminated] = 0
        advantages = generalised_advantages(
            batch.rewards, values, after, batch.lengths, config.gamma, config.gae_lambda
        )
        return advantages, (advantages + values).astype(np.float32)

    def _seen(self, batch: EpisodeBatch) -> Inputs:
        """What the policy sees of the observations of some rows, float32[B, observation size]."""
        arrays = self._normaliser.arrays
        return lambda rows: normalised(batch.observations[rows], arrays)

    def _step_weights(
        self, scaled: NDArray[np.float64] | None, batch: EpisodeBatch, entropy_coef: float
    ) -> NDArray[np.float64] | None:
        """What each step's log-probability is multiplied by; None where there is nothing to learn."""
        if scaled is None:
            return np.zeros(batch.num_steps) if entropy_coef > 0 else None
        if self._config.discount_weighting:
            scaled = scaled * discount_weights(self._config.gamma, batch.lengths)
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
            self._normaliser.state,
            self._return_moments,
        )

    @own_settings()
    def restore(self, state: LearnerState) -> None:
        """Go on from an earlier state, bit for bit."""
        self.weights_seq_no = state.weights_seq_no
        self.earlier_weights = state.earlier_weights
        self._network.restore(state.weights)
        self._normaliser.restore(state.observations, state.weights)
        self._return_moments = state.returns
        self._optimiser.restore(state.optimiser)
        if self._value is not None:
            assert state.value is not None
            self._value.restore(state.value)


def _norm(flat: Tensor) -> float:
    return float(torch.linalg.vector_norm(flat, dtype=torch.float64))


def _variance(values: NDArray[np.float64]) -> float:
    # As np.var, whose own preparations cost more than a small batch's numbers.
    differences = values - np.add.reduce(values) / len(values)
    differences *= differences
    return float(np.add.reduce(differences) / len(values))
