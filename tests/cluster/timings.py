"""Named times, and waiting for something to happen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Timings:
    """What took how long, in the order in which it ended."""

    def __init__(self) -> None:
        self.rows: dict[str, float] = {}

    def __setitem__(self, name: str, seconds: float) -> None:
        self.rows[name] = round(seconds, 1)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block; one that fails has no time."""
        start = time.monotonic()
        yield
        self[name] = time.monotonic() - start


def wait_for(what: str, look: Callable[[], T], seconds: float) -> T:
    """What ``look`` finds, once that is true.

    Raises:
        AssertionError: It did not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s (last seen: {found!r})"
        time.sleep(0.2)
