"""Evaluations in the course of a training."""

from distpg.config.train_config import TrainConfig
from distpg.learning.learner import Learner
from distpg.runs.metrics import Metrics
from distpg.runs.progress import Progress
from distpg.training.rollouts import Rollouts


def periodic_evaluation(
    config: TrainConfig, learner: Learner, runners: Rollouts, progress: Progress
) -> Metrics:
    """What the greedy policy is worth after this iteration, where that is to be known."""
    every = config.evaluate_every
    if every == 0 or progress.iterations % every != 0:
        return {}
    number = progress.iterations // every - 1
    returns = runners.evaluate(number, config.evaluation_episodes, learner.weights).episode_returns
    progress.evaluated(float(returns.mean()))
    return {
        "evaluation_return_mean": float(returns.mean()),
        "evaluation_return_min": float(returns.min()),
        "evaluation_return_max": float(returns.max()),
    }
