import numpy as np

from distpg.kernels.pcg64 import seed_sequence, uniforms

POOL, STATE = np.empty(4, np.uint32), np.empty(4, np.uint64)


def test_seeds_become_what_numpy_makes_of_them() -> None:
    for seed in (0, 1, 12345, 2**31 - 1, 2**32 - 1):
        seed_sequence(np.uint32(seed), POOL, STATE)
        assert STATE.tolist() == np.random.SeedSequence(seed).generate_state(4, np.uint64).tolist()


def test_known_answers_of_the_seed_sequence() -> None:
    """NumPy's own, of numpy/random/tests/test_seed_sequence.py: the last four of eight words from 0."""
    seed_sequence(np.uint32(0), POOL, STATE)
    words = STATE.view(np.uint32).tolist()
    assert words == np.random.SeedSequence(0).generate_state(8).tolist()
    assert words[:4] == [2968811710, 3677149159, 745650761, 2884920346]


def test_the_first_numbers_are_those_of_default_rng() -> None:
    numbers = np.empty(5)
    for seed in range(1000):
        uniforms(np.uint32(seed), POOL, STATE, numbers)
        assert numbers.tolist() == np.random.default_rng(seed).random(5).tolist()
