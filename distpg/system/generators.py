"""Python's and NumPy's global random generators, for environments that draw from them."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np

from distpg.core.seeding import MAX_EPISODE, Stream, words


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """What happens meanwhile takes no numbers of theirs: the caller may have seeded them."""
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)


def seed_generators(seed: int, episode: int = MAX_EPISODE, stream: Stream = Stream.GLOBALS) -> None:
    """Seed both, as an episode's own numbers say; by default for what is made before any episode."""
    pythons, numpys = words(seed, stream, [episode], 0, 2)[0].tolist()
    random.seed(pythons)
    np.random.seed(numpys)
