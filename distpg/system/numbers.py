"""Small numbers that no two holders on this machine have at once, whichever processes they are of."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
from pathlib import Path


class Number:
    """A number from 0 that is its holder's until it is released, or the process ends.

    Each is a file that is locked: the kernel lets go of it with the process, however that ends.
    """

    def __init__(self, value: int, descriptor: int) -> None:
        self.value = value
        self._descriptor: int | None = descriptor

    @classmethod
    def free(cls) -> Number:
        """The smallest that nobody has."""
        directory = Path(tempfile.gettempdir()) / f"distpg-numbers-{os.getuid()}"
        directory.mkdir(mode=0o700, exist_ok=True)
        for value in itertools.count():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(directory / str(value), flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(value, descriptor)
            except BlockingIOError:
                os.close(descriptor)
        raise AssertionError

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
