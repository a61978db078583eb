"""Standard output for what a command answers alone, whatever else in the process prints."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Standard output as it was; what anybody prints meanwhile goes to standard error, native code's too."""
    sys.stdout.flush()
    with contextlib.ExitStack() as stack:
        before, out = os.dup(1), sys.stdout
        stack.callback(os.close, before)
        if _is_on_descriptor(sys.stdout):
            out = stack.enter_context(os.fdopen(os.dup(before), "w", encoding=sys.stdout.encoding))
        stack.callback(os.dup2, before, 1)
        try:
            os.dup2(2, 1)
        except OSError:  # there is no standard error
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
                os.dup2(nowhere.fileno(), 1)
        stack.callback(_flush_native)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield out


def _is_on_descriptor(stream: TextIO) -> bool:
    """Whether a stream is standard output's descriptor: a test's or a notebook's is not."""
    try:
        return stream.fileno() == 1
    except (OSError, AttributeError, ValueError):  # io.UnsupportedOperation is the first and the last
        return False


def _flush_native() -> None:
    """What native code has printed and the C library still holds."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)
