"""Where compiled code is kept from one process to the next: in a directory that nobody else can write to.

Numba's cache is pickled, and so may hold any code. Where no such directory can be had there is no cache.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.system.user_cache import cache_directory, private_directory

_wanted = True


def do_without_cache() -> None:
    """To be called before anything is compiled in this process."""
    global _wanted
    _wanted = False


@dataclass(frozen=True)
class NumbaCache:
    """The directory of compiled code; None: there is no cache."""

    directory: Path | None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[bool]:
        """Functions decorated meanwhile use this cache, and no other; whether there is one."""
        import numba

        config: Any = numba.config  # its members are made from the environment when it is imported
        before = config.CACHE_DIR
        config.CACHE_DIR = str(self.directory or "")
        try:
            yield self.directory is not None
        finally:
            config.CACHE_DIR = before


@functools.cache
def numba_cache() -> NumbaCache:
    """This process's cache."""
    directory = None
    if _wanted:
        with contextlib.suppress(RuntimeError):  # no home directory
            directory = private_directory(cache_directory() / "compiled")
    return NumbaCache(directory)
