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
        try:
            errors = os.dup(2)
        except OSError:  # there is no standard error
            errors = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, errors)
        before, out = os.dup(1), sys.stdout
        stack.callback(os.close, before)
        if _is_on_descriptor(sys.stdout):
            out = stack.enter_context(os.fdopen(os.dup(before), "w", encoding=sys.stdout.encoding))
        stack.callback(os.dup2, before, 1)
        os.dup2(errors, 1)
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
