"""Python's search for garbage, which takes a third of the time of a process that imports torch and numba.

It goes through all that they made again and again as they are imported, and three times more as the process
ends, though none of it is garbage before.
"""

import atexit
import gc
import importlib
import sys

_is_command = False


def this_process_is_a_command() -> None:
    """What :func:`load` imports is needed until the process ends, and so is all else that is there then."""
    global _is_command
    _is_command = True
    atexit.register(_search_for_the_last_time)


def load(*modules: str) -> None:
    """Import modules without a search meanwhile; a command never looks again at what they made."""
    if sys.modules.keys() >= set(modules):
        return
    if _is_command:
        gc.collect()  # what others have left is not kept
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        if _is_command:
            gc.freeze()
        if was_enabled:
            gc.enable()


def _search_for_the_last_time() -> None:
    gc.collect()
    gc.freeze()
