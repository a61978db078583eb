import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg.config.train_config import TrainConfig
from distpg.learning.learner_state import Moments
from distpg.learning.value_function import ValueFunction

RNG = np.random.default_rng(4)
OBSERVATIONS = RNG.normal(size=(200, 3)).astype(np.float32)
RETURNS = (300 + 50 * OBSERVATIONS[:, 0] - 20 * OBSERVATIONS[:, 1] ** 2).astype(np.float32)


def value_function(value_updates: int = 10) -> ValueFunction:
    config = TrainConfig(hidden_sizes=(16,), seed=1, value_lr=0.01, value_updates=value_updates)
    return ValueFunction(config, observation_size=3)


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9), min_size=1, max_size=5))
def test_moments_against_numpy(parts: list[list[float]]) -> None:
    moments = Moments()
    for part in parts:
        moments = moments.add(np.array(part, np.float32))
    everything = np.concatenate(parts).astype(np.float32).astype(np.float64)
    assert moments.count == len(everything)
    assert moments.mean == pytest.approx(everything.mean(), abs=1e-6)
    if everything.std() > 1e-3:
        assert moments.deviation == pytest.approx(everything.std(), rel=1e-6)


def test_equal_returns_have_no_deviation_to_divide_by() -> None:
    assert Moments().add(np.full(7, 99.3, np.float32)).deviation == 1
    assert Moments().deviation == 1


def test_it_learns_returns_far_from_zero() -> None:
    value = value_function()
    for _ in range(60):
        value.fit(OBSERVATIONS.__getitem__, RETURNS)
    error = np.sqrt(np.mean(np.square(value.predict(OBSERVATIONS.__getitem__, len(OBSERVATIONS)) - RETURNS)))
    assert error < 0.2 * RETURNS.std()


def test_a_change_of_unit_changes_no_prediction() -> None:
    value = value_function(value_updates=1)
    value.fit(OBSERVATIONS.__getitem__, RETURNS)
    before = value.predict(OBSERVATIONS.__getitem__, len(OBSERVATIONS))
    value._rescale(value.moments.add(np.linspace(-5000, 9000, 300).astype(np.float32)))
    np.testing.assert_allclose(value.predict(OBSERVATIONS.__getitem__, len(OBSERVATIONS)), before, rtol=1e-4)


def test_restored_it_goes_on_bit_for_bit() -> None:
    value, other = value_function(), value_function()
    value.fit(OBSERVATIONS.__getitem__, RETURNS)
    other.restore(value.state)
    for here in (value, other):
        here.fit(OBSERVATIONS[::2].__getitem__, RETURNS[::2])
    assert (
        value.predict(OBSERVATIONS.__getitem__, len(OBSERVATIONS)).tobytes()
        == other.predict(OBSERVATIONS.__getitem__, len(OBSERVATIONS)).tobytes()
    )
