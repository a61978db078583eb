"""The learning rate over a run."""

from __future__ import annotations

from distpg.config.train_config import TrainConfig


def learning_rate(config: TrainConfig, env_steps: int) -> float:
    """The rate of the update after the run's first ``env_steps`` environment steps.

    It depends on the steps taken and never on a limit of the run: a limit may be raised by resume.
    """
    if config.lr_decay_env_steps is None:
        return config.lr
    return config.lr * max(0.0, 1.0 - env_steps / config.lr_decay_env_steps)
