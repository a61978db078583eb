"""What a runner answers about episodes that stay with it: statistics first, then sums of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from typing_extensions import override

from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights
from distpg.core.tasks import Task
from distpg.learning.compiled_gradient import has_compiled_gradient
from distpg.learning.gradients import CompiledPolicyGradient, Differentiated, PolicyGradient, Terms
from distpg.learning.passes import Question, Statistics, Sums, Wanted, statistics_of, step_weights
from distpg.sampling.module_policy import first_weights

_NONE = np.zeros(0)


class SecondPass:
    """Keeps the episodes of tasks while they may be asked about.

    Answers are pure functions of task, weights and question: what it does not have is played again.

    Args:
        has_masks: Whether the environment says which actions are legal.
    """

    def __init__(self, policy: PolicySpec, wanted: Wanted, has_masks: bool, seed: int) -> None:
        self._wanted = wanted
        self._kept: dict[Task, EpisodeBatch] = {}
        if has_compiled_gradient(policy) and not has_masks:
            self._gradient: _AtAnyWeights = CompiledPolicyGradient(policy)
        else:
            self._gradient = _by_torch(policy, seed)

    def keep(self, task: Task, batch: EpisodeBatch) -> Statistics:
        """The first pass over a task's episodes, which are kept."""
        oldest = task.weights_seq_no - self._wanted.policy_lag
        for outdated in [other for other in self._kept if other.weights_seq_no < oldest]:
            del self._kept[outdated]
        self._kept[task] = batch
        return statistics_of(batch, self._wanted)

    def answer(self, task: Task, question: Question, play: Callable[[Task], EpisodeBatch]) -> Sums:
        """The question's sums over the steps of the task's episodes."""
        played = task._replace(question=0)
        batch = self._kept.get(played)
        if batch is None:
            batch = self._kept[played] = play(played)
        if question.others is not None:
            return Sums(_NONE, self._gradient.divergence(batch, question.weights, question.others))
        weights = step_weights(batch, question.fit, self._wanted.gamma)
        if weights is None and question.entropy_coef > 0:
            weights = np.zeros(batch.num_steps)
        then = batch.log_probs if question.is_lagged else None
        terms = Terms(weights, 1, question.entropy_coef, then, self._wanted.ratio_clip)
        found = self._gradient.differentiate(batch, question.weights, terms)
        return Sums(found.flat.astype(np.float64), found.loss, found.entropy_sum)


class _AtAnyWeights(PolicyGradient, Protocol):
    def divergence(self, batch: EpisodeBatch, before: Weights, after: Weights) -> float:
        """The sum over the batch's states of KL(policy before || policy after)."""
        ...


def _by_torch(policy: PolicySpec, seed: int) -> _AtAnyWeights:
    """Of any policy; where it is not compiled, runners import torch."""
    from distpg.learning.modules import ModuleNetwork
    from distpg.learning.network import Differentiable, Network
    from distpg.learning.settings import own_settings
    from distpg.learning.torch_gradient import TorchPolicyGradient

    class ByTorch(TorchPolicyGradient, _AtAnyWeights):
        @override
        def differentiate(self, batch: EpisodeBatch, weights: Weights, terms: Terms) -> Differentiated:
            with own_settings():
                network.restore(weights)
                return super().differentiate(batch, weights, terms)

        @override
        def divergence(self, batch: EpisodeBatch, before: Weights, after: Weights) -> float:
            found = self.differentiate(batch, before, Terms(None, 1))
            with own_settings():
                network.restore(after)
                return found.divergence(after) * batch.num_steps

    with own_settings():
        weights = first_weights(policy, seed)
        network: Differentiable = ModuleNetwork(policy, weights, seed) if policy.module else Network(weights)
        return ByTorch(network, policy, keeps_outputs=True)
