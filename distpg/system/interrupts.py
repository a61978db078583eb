"""SIGINT and SIGTERM: stop between updates, never inside one; a second signal ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; not a KeyboardInterrupt that an environment raised by itself."""


class Interrupts:
    """While entered, both signals raise Interrupted in the main thread, and never within :meth:`held`.

    Handlers are installed explicitly: a process started in the background of a shell script has SIGINT
    ignored, and Python raises nothing for SIGTERM. Other threads than the main one cannot install handlers;
    there this does nothing.
    """

    def __init__(self) -> None:
        self._received = False
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = self.install()
        return self

    def install(self) -> dict[signal.Signals, Any]:
        """Put the handlers in place, again if need be: Ray, as it starts, takes SIGTERM for itself."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._handle) for number in _SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            os._exit(130)
        self._received = True
        if not self._held:
            raise Interrupted

    def check(self) -> None:
        """Raise Interrupted where a signal came; somebody's bare ``except:`` may have swallowed it then."""
        if self._received:
            raise Interrupted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A part that is finished first: a signal within it raises at its end."""
        self._held = True
        received = self._received
        try:
            yield
        finally:
            self._held = False
        if self._received and not received:
            raise Interrupted
