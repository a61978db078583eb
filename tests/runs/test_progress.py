import pytest

from distpg.config.train_config import TrainConfig
from distpg.runs.progress import Progress, is_finished, is_solved


def config(
    stop_return: float | None = None, max_env_steps: int | None = None, max_iterations: int | None = None
) -> TrainConfig:
    return TrainConfig(stop_return=stop_return, max_env_steps=max_env_steps, max_iterations=max_iterations)


def test_solved_after_the_first_iteration_whose_last_hundred_average_enough() -> None:
    progress = Progress()
    progress.add([1000.0] * 96, 96, 1.0)
    assert not is_solved(progress, config(10)), "96 episodes are too few, however good"
    progress.add([1.0] * 4, 4, 1.0)
    assert is_solved(progress, config(10))
    progress.add([1.0] * 95, 95, 1.0)
    # 1 of 1000 and 99 of 1: mean 10.99
    assert progress.recent_return_mean == 10.99
    assert is_solved(progress, config(10))
    assert is_finished(progress, config(10))
    progress.add([1.0], 1, 1.0)
    assert progress.recent_return_mean == 1
    assert not is_solved(progress, config(10))
    assert (progress.iterations, progress.env_steps, progress.episodes) == (4, 196, 196)
    assert progress.seconds == 4.0


def test_the_mean_is_that_of_every_version_of_python() -> None:
    progress = Progress()
    progress.add([0.1] * 10, 10, 1.0)
    assert progress.recent_return_mean == 0.09999999999999999  # 0.1 where sum() compensates


def test_equal_is_enough_and_none_is_never() -> None:
    progress = Progress()
    progress.add([475.0] * 100, 47_500, 1.0)
    assert is_solved(progress, config(475))
    assert not is_solved(progress, config(475.01))
    assert not is_solved(progress, config())


def test_limits() -> None:
    progress = Progress()
    progress.add([1.0] * 3, 30, 1.0)
    assert is_finished(progress, config(max_env_steps=30))
    assert not is_finished(progress, config(max_env_steps=31))
    assert is_finished(progress, config(max_iterations=1))
    assert not is_finished(progress, config(max_env_steps=31, max_iterations=2))
    assert not is_finished(progress, config(stop_return=1)), "solved takes a hundred episodes"
    assert not is_finished(progress, config())


def test_a_configuration_that_is_not_resolved_is_an_error() -> None:
    with pytest.raises(ValueError, match="auto"):
        is_finished(Progress(), TrainConfig())
