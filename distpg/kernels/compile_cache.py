"""Where compiled code is kept from one process to the next: in a directory that nobody else can write to.

Numba's cache is pickled, and so may hold any code. Where no such directory can be had there is no cache.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from distpg.system.garbage import load
from distpg.system.user_cache import private_directory, usable_cache

_wanted = True


def do_without_cache() -> None:
    """To be called before anything is compiled in this process."""
    global _wanted
    _wanted = False


@functools.cache
def compile_cache(key: str = "") -> Path | None:
    """This process's directory of compiled code, one for each state of the sources; None: there is no cache.

    Numba compiles a function anew when its own file has changed, but not when only the file of a function
    that it calls has.

    Args:
        key: Of all that decides what is compiled, beside the files of this package.
    """
    if not _wanted:
        return None
    digest = hashlib.sha256(key.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    cache = usable_cache()
    return None if cache is None else private_directory(cache / "compiled" / digest.hexdigest()[:16])


def njit(
    function: Callable[..., Any],
    key: str | None = "",
    inline: Literal["never", "always"] = "never",
    allocates: bool = False,
) -> Any:
    """The function compiled at its first call, or loaded from the cache; one that numba has already, as is.

    ``key`` is as of :func:`compile_cache`; None where nobody can say what decides: then nothing is kept.
    ``inline`` is numba's: ``always`` where a call would keep a loop around it from becoming vector
    instructions. Unless a function ``allocates``, it counts no references to arrays, which its caller holds:
    to count them costs as much as what a kernel does with a few of their rows.
    """
    if hasattr(function, "py_func"):
        return function
    load("numba")
    import numba

    config: Any = numba.config  # its members are made from the environment when it is imported
    cache, before = None if key is None else compile_cache(key), config.CACHE_DIR
    # Read while the function is decorated: this cache, and no other.
    config.CACHE_DIR = str(cache or "")
    try:
        options: dict[str, Any] = {"error_model": "numpy", "nogil": True, "inline": inline, "_nrt": allocates}
        return numba.njit(cache=cache is not None, **options)(function)
    finally:
        config.CACHE_DIR = before
