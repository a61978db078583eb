"""What happened to a run beside training: runners that joined or died, retries, warnings."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distpg.run_directory import storage_error, strict_json

Event = dict[str, Any]
_LONGEST_LIST = 4

# What was found out about the environment before the run, or shown by an audit during it.
_AGAINST_REPRODUCIBLE = ("not_reproducible", "answers_differ", "env_runner_mixed")


class EventLog:
    """Appends events to events.jsonl, each with its UTC time, and tells a listener of them."""

    def __init__(self, run: Path, listener: Callable[[Event], None] | None = None) -> None:
        self._path = run / "events.jsonl"
        self._listener = listener
        self.why_not = why_not_reproducible(run)
        """Why the run is not reproducible; None as far as is known."""
        self._append("")

    def __call__(self, event: Event) -> None:
        """Record an event; its kind is under the key ``event``.

        Raises:
            StorageError: The file cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        reason = _reason(event)
        # A resumed run must not claim what this one had to give up, not even after a power cut.
        self._append(strict_json({"time": now, **event}) + "\n", durably=reason is not None)
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


def read_events(run: Path) -> list[Event]:
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


def _reason(event: Event) -> str | None:
    return str(event.get("why")) if event.get("event") in _AGAINST_REPRODUCIBLE else None


def describe(event: Event) -> str:
    """An event in one line for people: its kind, then what is known of it."""
    details = ", ".join(
        f"{key.replace('_', ' ')} {_shortened(value)}"
        for key, value in event.items()
        if key != "event" and value != []
    )
    return f"{event['event'].replace('_', ' ')}: {details}"


def _shortened(value: Any) -> Any:
    """A long list by its ends: a call may hold hundreds of tasks."""
    if isinstance(value, list) and len(value) > _LONGEST_LIST:
        return f"[{value[0]}, {value[1]}, … {value[-1]}]"
    return value
