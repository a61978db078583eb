"""The learning rate and the entropy bonus over a run."""

from distpg.config.train_config import TrainConfig


def learning_rate(config: TrainConfig, env_steps: int) -> float:
    """The rate after a run's first ``env_steps`` environment steps.

    It depends on the steps taken and never on a limit of the run: a limit may be raised by resume.
    """
    return _decayed(config.lr, config.lr_decay_env_steps, env_steps)


def entropy_coefficient(config: TrainConfig, env_steps: int) -> float:
    """The entropy bonus's, likewise (Williams and Peng 1991 have it constant)."""
    return _decayed(config.entropy_coef, config.entropy_decay_env_steps, env_steps)


def _decayed(value: float, decay_env_steps: int | None, env_steps: int) -> float:
    return value if decay_env_steps is None else value * max(0.0, 1.0 - env_steps / decay_env_steps)
