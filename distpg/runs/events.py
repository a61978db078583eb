"""What happened to a run beside training: runners that joined or died, retries, warnings."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distpg.core.events import AGAINST_REPRODUCIBLE, Event, OnEvent
from distpg.system.files import storage_error, strict_json


class EventLog:
    """Appends events to events.jsonl, each with its UTC time, and tells a listener of them."""

    def __init__(self, run: Path, listener: OnEvent | None = None) -> None:
        self._path = run / "events.jsonl"
        self._listener = listener
        self.why_not = why_not_reproducible(run)
        """Why the run is not reproducible; None as far as is known."""
        self._append("")

    def __call__(self, event: Event) -> None:
        """Record an event.

        Raises:
            StorageError: The file cannot be written.
        """
        record = event.record()
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        reason = _reason(record)
        # A resumed run must not claim what this one had to give up, not even after a power cut.
        self._append(strict_json({"time": now, **record}) + "\n", durably=reason is not None)
        if self.why_not is None:
            self.why_not = reason
        if self._listener is not None:
            self._listener(event)

    def _append(self, text: str, durably: bool = False) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
                if durably:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self._path, error) from error


def read_events(run: Path) -> list[dict[str, Any]]:
    """A run's events so far, without lines that are torn or damaged."""
    events = []
    try:
        lines = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def why_not_reproducible(run: Path) -> str | None:
    """The first reason that a run's events give, of this process or of those that it goes on from."""
    return next((why for event in read_events(run) if (why := _reason(event)) is not None), None)


def _reason(event: Mapping[str, Any]) -> str | None:
    return str(event.get("why")) if event.get("event") in AGAINST_REPRODUCIBLE else None
