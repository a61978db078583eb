import numpy as np

from distpg.core.policies import PolicySpec
from distpg.learning.normalisation import ObservationNormaliser

SPEC = PolicySpec(3, (2,), normalisation="running")


def normaliser(spec: PolicySpec = SPEC) -> ObservationNormaliser:
    return ObservationNormaliser(spec, spec.initial_weights(0))


def test_mean_and_deviation_of_all_that_was_seen() -> None:
    rng = np.random.default_rng(0)
    parts = [(1000 + rng.normal(size=(n, 3)) * [1, 10, 0]).astype(np.float32) for n in (5, 1, 3000)]
    found = normaliser()
    assert not found.arrays["observations.scale"].any(), "nothing is known yet"
    for part in parts:
        found.add(part)
    seen = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(found.arrays["observations.mean"], seen.mean(axis=0), rtol=1e-6)
    deviation = seen.std(axis=0)
    np.testing.assert_allclose(found.arrays["observations.scale"][:2], 1 / deviation[:2], rtol=1e-6)
    assert found.arrays["observations.scale"][2] == 1, "what never changes is not blown up"


def test_restored_it_goes_on_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    one, other = normaliser(), normaliser()
    one.add(rng.normal(size=(50, 3)).astype(np.float32))
    other.restore(one.state, one.arrays)
    more = rng.integers(0, 255, (70, 3)).astype(np.uint8)
    for each in (one, other):
        each.add(more)
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes()


def test_bounds_are_constants() -> None:
    spec = PolicySpec(2, (2,), normalisation="bounds", bounds=(0.0, 255.0))
    found = normaliser(spec)
    found.add(np.full((9, 2), 3, np.uint8))
    assert found.arrays["observations.mean"].tolist() == [127.5] * 2
    np.testing.assert_allclose((255 - 127.5) * found.arrays["observations.scale"], 1)
    assert found.state == {}
