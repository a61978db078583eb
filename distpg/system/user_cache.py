"""Where distpg keeps what it would otherwise work out again, and whether a directory is the user's alone."""

import os
import stat
from pathlib import Path


def cache_directory() -> Path:
    """``distpg`` in the user's cache directory, as XDG_CACHE_HOME says (RuntimeError: there is no home)."""
    import platformdirs

    return platformdirs.user_cache_path("distpg")


def usable_cache() -> Path | None:
    """:func:`cache_directory`, made if need be; None where there is none that only this user can write to."""
    try:
        return private_directory(cache_directory())
    except RuntimeError:
        return None


def private_directory(path: Path) -> Path | None:
    """A directory that nobody else can write to, made if need be; None where that cannot be had.

    Whoever can write to a directory above could put another one in its place, so these count too; one with
    the sticky bit, as /tmp, lets everybody add and nobody rename.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.resolve()
        for directory in (path, *path.parents):
            status = directory.stat()
            others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            is_sticky = bool(status.st_mode & stat.S_ISVTX) and directory != path
            if status.st_uid not in (os.geteuid(), 0) or (others_write and not is_sticky):
                return None
        return path if os.access(path, os.W_OK) else None
    except OSError:
        return None
