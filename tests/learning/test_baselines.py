import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg.learning.baselines import baseline_values

RAGGED = st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), min_size=1, max_size=6)


def arrays(episodes: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    returns = np.array([g for episode in episodes for g in episode], np.float32)
    return returns, np.array([len(episode) for episode in episodes], np.int32)


def slow_timestep(episodes: list[list[float]]) -> list[float]:
    values = []
    for index, episode in enumerate(episodes):
        others = episodes[:index] + episodes[index + 1 :]
        for t in range(len(episode)):
            at_t = [other[t] if t < len(other) else 0.0 for other in others]
            values.append(sum(at_t) / len(at_t) if at_t else 0.0)
    return values


@given(RAGGED)
def test_timestep_against_a_slow_loop(episodes: list[list[float]]) -> None:
    np.testing.assert_allclose(
        baseline_values("timestep", *arrays(episodes)), slow_timestep(episodes), rtol=1e-6, atol=1e-9
    )


@given(RAGGED)
def test_timestep_never_sees_its_own_episode(episodes: list[list[float]]) -> None:
    changed = [[value + 1000 for value in episodes[0]], *episodes[1:]]
    before = baseline_values("timestep", *arrays(episodes))[: len(episodes[0])]
    after = baseline_values("timestep", *arrays(changed))[: len(episodes[0])]
    np.testing.assert_allclose(after, before, atol=1e-3)


def slow_batch(episodes: list[list[float]]) -> list[float]:
    values = []
    for index, episode in enumerate(episodes):
        others = [g for other in episodes[:index] + episodes[index + 1 :] for g in other]
        values += [sum(others) / len(others) if others else 0.0] * len(episode)
    return values


@given(RAGGED)
def test_batch_against_a_slow_loop(episodes: list[list[float]]) -> None:
    np.testing.assert_allclose(
        baseline_values("batch", *arrays(episodes)), slow_batch(episodes), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["batch", "timestep"])
def test_without_another_episode_leave_one_out_is_zero(kind: str) -> None:
    assert baseline_values(kind, *arrays([[3, 2, 1]])).tolist() == [0, 0, 0]


def test_by_hand() -> None:
    returns, lengths = arrays([[6, 4, 2], [3, 1], [9]])
    assert baseline_values("none", returns, lengths).tolist() == [0] * 6
    assert baseline_values("episode", returns, lengths).tolist() == [4, 4, 4, 2, 2, 9]
    assert baseline_values("timestep", returns, lengths).tolist() == [6, 0.5, 0, 7.5, 2, 4.5]
    # (3 + 1 + 9) / 3, (6 + 4 + 2 + 9) / 4, (6 + 4 + 2 + 3 + 1) / 5
    np.testing.assert_allclose(
        baseline_values("batch", returns, lengths), [13 / 3] * 3 + [21 / 4] * 2 + [16 / 5]
    )
