from distpg.runs.progress import (
    Limits,
    Progress,
    is_at_limit,
    is_solved,
)


def test_solved_after_the_first_iteration_whose_last_hundred_average_enough() -> None:
    limits = Limits(stop_return=10, max_env_steps=None, max_iterations=None)
    progress = Progress()
    progress.add([1000.0] * 96, 96, 1.0)
    assert not is_solved(progress, limits), "96 episodes are too few, however good"
    progress.add([1.0] * 4, 4, 1.0)
    assert is_solved(progress, limits)
    progress.add([1.0] * 95, 95, 1.0)
    # 1 of 1000 and 99 of 1: mean 10.99
    assert progress.recent_return_mean == 10.99
    assert is_solved(progress, limits)
    progress.add([1.0], 1, 1.0)
    assert progress.recent_return_mean == 1
    assert not is_solved(progress, limits)
    assert (progress.iterations, progress.env_steps, progress.episodes) == (4, 196, 196)
    assert progress.seconds == 4.0


def test_equal_is_enough_and_none_is_never() -> None:
    progress = Progress()
    progress.add([475.0] * 100, 47_500, 1.0)
    assert is_solved(progress, Limits(475, None, None))
    assert not is_solved(progress, Limits(475.01, None, None))
    assert not is_solved(progress, Limits(None, None, None))


def test_limits() -> None:
    progress = Progress()
    progress.add([1.0] * 3, 30, 1.0)
    assert is_at_limit(progress, Limits(None, 30, None))
    assert not is_at_limit(progress, Limits(None, 31, None))
    assert is_at_limit(progress, Limits(None, None, 1))
    assert not is_at_limit(progress, Limits(None, 31, 2))
    assert not is_at_limit(progress, Limits(1, None, None))
