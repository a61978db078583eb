import pytest

from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError
from distpg.learning.schedules import learning_rate


def test_constant() -> None:
    assert [learning_rate(TrainConfig(lr=0.5), steps) for steps in (0, 10**9)] == [0.5, 0.5]


def test_linear_by_hand() -> None:
    config = TrainConfig(lr=0.5, lr_schedule="linear", lr_decay_env_steps=100)
    assert [learning_rate(config, steps) for steps in (0, 25, 50, 100, 1000)] == [0.5, 0.375, 0.25, 0, 0]


@pytest.mark.parametrize("options", [{"lr_schedule": "linear"}, {"lr_decay_env_steps": 5}])
def test_half_a_schedule_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="go together"):
        TrainConfig(**options)
