"""Evaluations in the course of a training."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from distpg.config.train_config import TrainConfig
from distpg.runs.metrics import Metrics
from distpg.runs.progress import Progress
from distpg.system.interrupts import Interrupts
from distpg.training.rollouts import Rollouts

if TYPE_CHECKING:
    from distpg.learning.learner import Learner


@contextlib.contextmanager
def evaluated_or_undone(config: TrainConfig, learner: Learner, progress: Progress) -> Iterator[None]:
    """An update that is evaluated is complete once it is: what ends the evaluation undoes the update.

    So a signal need not wait for it, and the run that goes on makes the update and its evaluation again.
    """
    if not _is_due(config, progress.iterations + 1):
        yield
        return
    state, counted = learner.state, copy.deepcopy(progress)
    try:
        yield
    except BaseException:
        learner.restore(state)
        vars(progress).update(vars(counted))
        raise


def periodic_evaluation(
    config: TrainConfig, learner: Learner, runners: Rollouts, progress: Progress, interrupts: Interrupts
) -> Metrics:
    """What the greedy policy is worth after this iteration, where that is to be known."""
    if not _is_due(config, progress.iterations):
        return {}
    number = progress.iterations // config.evaluate_every - 1
    with interrupts.let_through():
        returns = runners.evaluate(number, config.evaluation_episodes, learner.weights).episode_returns
    progress.evaluated(float(returns.mean()))
    return {
        "evaluation_return_mean": float(returns.mean()),
        "evaluation_return_min": float(returns.min()),
        "evaluation_return_max": float(returns.max()),
    }


def _is_due(config: TrainConfig, iterations: int) -> bool:
    return config.evaluate_every > 0 and iterations % config.evaluate_every == 0
