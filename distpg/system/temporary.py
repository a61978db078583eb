"""Temporary directories that do not pile up: those of processes that were killed are removed by the next."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from distpg.system.locks import locked

_LOCK = ".in-use"
# Between making a directory and locking it; no process takes so long unless it died there.
_UNLOCKED_S = 600.0


@contextlib.contextmanager
def temporary_directory(prefix: str, parent: Path) -> Iterator[Path]:
    """A new directory in ``parent``, removed at the end; and so are those that dead processes left there.

    A directory is in use as long as its lock is held, which the system releases when a process ends in any
    way. Process ids would not do: in two containers that share ``parent`` they mean different things.
    """
    _remove_leftovers(prefix, parent)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    # A file system without locks: nobody can take it for abandoned, nor ever remove it.
    with locked(path / _LOCK, os.O_WRONLY | os.O_CREAT):
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _remove_leftovers(prefix: str, parent: Path) -> None:
    for path in parent.glob(f"{prefix}*"):
        # Others may use the prefix too, may remove the same directory now, or have it still.
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_symlink() or not path.is_dir() or status.st_uid != os.geteuid():
                continue
            if (path / _LOCK).is_file():
                with (path / _LOCK).open("r") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            elif time.time() - status.st_mtime > _UNLOCKED_S:
                shutil.rmtree(path, ignore_errors=True)
