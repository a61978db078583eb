"""What happened to a run beside training: runners that joined or died, retries, warnings."""

import contextlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distpg.core.events import AGAINST_REPRODUCIBLE, Event, OnEvent
from distpg.system.files import strict_json, writing


class EventLog:
    """Appends events to events.jsonl, each with its UTC time, and tells a listener of them.

    Raises:
        StorageError: When it is made or called: the file cannot be written.
    """

    def __init__(self, run: Path, listener: OnEvent = lambda event: None) -> None:
        self._path = run / "events.jsonl"
        self._listener = listener
        with writing(self._path):
            self._path.open("a").close()

    def __call__(self, event: Event) -> None:
        """Record an event."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json({"time": now, **event.record()}) + "\n")
            if event.speaks_against:
                # A resumed run must not claim what this one had to give up, not even after a power cut.
                file.flush()
                os.fsync(file.fileno())
        self._listener(event)


def read_events(run: Path) -> list[dict[str, Any]]:
    """A run's events so far, without lines that are torn or damaged."""
    events = []
    with contextlib.suppress(OSError):
        for line in (run / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
    return [event for event in events if isinstance(event, dict)]


def why_not_reproducible(run: Path) -> str | None:
    """The first reason that a run's events give, of this process or of those that it goes on from."""
    reasons = (event.get("why") for event in read_events(run) if event.get("event") in AGAINST_REPRODUCIBLE)
    return next(map(str, reasons), None)
