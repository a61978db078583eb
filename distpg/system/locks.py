"""Locks on files that end with the process that took them, whatever it started meanwhile."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_held: set[int] = set()


def _give_up() -> None:
    """In a forked child, which would hold the lock on when its parent is gone."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up)


@contextlib.contextmanager
def locked(path: Path, flags: int) -> Iterator[None]:
    """An exclusive lock on a file or directory, opened with ``flags``; none where the file system has none.

    Raises:
        BlockingIOError: Another process has it.
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, flags)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)
