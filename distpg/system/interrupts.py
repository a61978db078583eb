"""Signals that ask to end: stop between updates, never inside one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Who sends one of these twice wants the end at once.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The terminal is gone; Slurm's warning before a job's time is up. Both may come several times, or be ignored.
WARNINGS = (signal.SIGHUP, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; not a KeyboardInterrupt that an environment raised by itself."""


class Interrupts:
    """While entered, these signals raise Interrupted in the main thread, and never within :meth:`held`.

    Those that follow the first one are passed over, so that what is being saved is saved, but for SIGINT or
    SIGTERM that comes again: it ends the process at once.

    Handlers are installed explicitly: a process started in the background of a shell script has SIGINT
    ignored, and Python raises nothing for the others. SIGHUP and SIGUSR1 are left alone where they are
    ignored (nohup) or the caller handles them. Other threads than the main one cannot install handlers; there
    this does nothing.
    """

    def __init__(self) -> None:
        self._received: set[int] = set()
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = self.install()
        return self

    def install(self) -> dict[signal.Signals, Any]:
        """Put the handlers in place, again if need be: Ray, as it starts, takes SIGTERM for itself."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        wanted = [*_SIGNALS, *filter(_is_free, WARNINGS)]
        return {number: signal.signal(number, self._handle) for number in wanted}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in self._received and number in _SIGNALS:
            os._exit(130)
        is_first = not self._received
        self._received.add(number)
        if is_first and not self._held:
            raise Interrupted

    def check(self) -> None:
        """Raise Interrupted where a signal came; somebody's bare ``except:`` may have swallowed it then."""
        if self._received:
            raise Interrupted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A part that is finished first: a signal within it raises at its end."""
        self._held = True
        received = bool(self._received)
        try:
            yield
        finally:
            self._held = False
        if self._received and not received:
            raise Interrupted

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Within :meth:`held`, a part that a signal ends at once after all; so does one that came before."""
        self._held = False
        try:
            self.check()
            yield
            self.check()
        finally:
            self._held = True


def _is_free(number: signal.Signals) -> bool:
    """Whether a signal would end this process, or is another :class:`Interrupts`'s."""
    handler = signal.getsignal(number)
    return handler == signal.SIG_DFL or isinstance(getattr(handler, "__self__", None), Interrupts)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started within never get a :data:`WARNINGS` signal, as when all of a job do.

    They inherit that it is blocked; this one gets it at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
