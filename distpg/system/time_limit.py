"""A limit on the time that somebody else's code may take."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# It comes again, since code with a bare `except:` may swallow it.
_AGAIN_S = 0.2


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what is done within once so many seconds have passed.

    What waits in native code is only interrupted when it comes back. Outside the main thread, where no signal
    arrives, and on systems without timers nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    began, handler_before = time.monotonic(), signal.signal(signal.SIGALRM, end)
    left_before, interval_before = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)
        if left_before:  # a timer that was running goes on
            left = max(left_before - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval_before)
