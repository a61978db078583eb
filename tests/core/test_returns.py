import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg.core.returns import discounted_returns

RAGGED = st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=30), min_size=1, max_size=8)


def flat(episodes: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r for episode in episodes for r in episode]), np.array(
        [len(e) for e in episodes], np.int32
    )


def test_the_articles_example() -> None:
    rewards, lengths = flat([[1, 1, 1]])
    assert discounted_returns(rewards, lengths, 0.5, "to-go").tolist() == [1.75, 1.5, 1]
    assert discounted_returns(rewards, lengths, 0.5, "total").tolist() == [1.75, 1.75, 1.75]


@given(RAGGED, st.floats(0, 1))
def test_the_definition_in_quadratic_time(episodes: list[list[float]], gamma: float) -> None:
    rewards, lengths = flat(episodes)
    expected = [
        [sum(gamma ** (k - t) * episode[k] for k in range(t, len(episode))) for t in range(len(episode))]
        for episode in episodes
    ]
    to_go = discounted_returns(rewards, lengths, gamma, "to-go")
    np.testing.assert_allclose(to_go, flat(expected)[0], rtol=1e-9, atol=1e-9)
    total = discounted_returns(rewards, lengths, gamma, "total")
    np.testing.assert_allclose(total, np.repeat([e[0] for e in expected], lengths), rtol=1e-9, atol=1e-9)


@given(RAGGED, RAGGED)
def test_nothing_leaks_from_one_episode_to_another(
    episodes: list[list[float]], others: list[list[float]]
) -> None:
    alone = discounted_returns(*flat(episodes), 0.9, "to-go")
    before = discounted_returns(*flat(others + episodes), 0.9, "to-go")
    after = discounted_returns(*flat(episodes + others), 0.9, "to-go")
    assert before[-len(alone) :].tolist() == alone.tolist()
    assert after[: len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize("kind", ["to-go", "total"])
def test_without_discount_the_first_return_is_the_sum(kind: str) -> None:
    rewards, lengths = flat([[1, 2, 3], [4]])
    returns = discounted_returns(rewards, lengths, 1.0, kind)
    assert (returns[0], returns[3]) == (6, 4)
