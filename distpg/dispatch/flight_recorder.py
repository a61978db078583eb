"""All that a dispatcher is told and orders, as lines of JSON: a hang in the field becomes a test.

The first line of a flight has its rules, each further one a report, its time, and the commands that followed.
``python -m distpg.dispatch.flight_recorder FILE`` runs the reports through a new dispatcher, which must give
the same commands.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, get_args

from distpg.core.tasks import Task
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.messages import Command, Report, Rules

Handle = Callable[[Report, float], list[Command]]
_MESSAGES = {kind.__name__: kind for kind in (*get_args(Report), *get_args(Command))}


def recorded(dispatcher: Dispatcher, rules: Rules, file: TextIO) -> Handle:
    """:meth:`Dispatcher.handle`, written down; a process that dies leaves all but the last line whole.

    Raises:
        OSError: The file cannot be written; so does each call.
    """
    _write(file, {"rules": asdict(rules)})

    def handle(report: Report, now: float) -> list[Command]:
        commands = dispatcher.handle(report, now)
        _write(file, {"at": now, "report": _encode(report), "commands": [*map(_encode, commands)]})
        return commands

    return handle


def _write(file: TextIO, line: dict[str, Any]) -> None:
    file.write(json.dumps(line, separators=(",", ":")) + "\n")
    file.flush()


def _encode(message: Report | Command) -> list[Any]:
    return [type(message).__name__, vars(message)]


def _decode(name: str, values: dict[str, Any]) -> Any:
    """A report or command; what an older recording does not have gets its default."""
    for key in {"tasks", "audited"} & values.keys():
        values[key] = tuple(Task(*task) for task in values[key])
    for key in {"digests", "owners", "runners"} & values.keys():
        values[key] = tuple(values[key])
    if values.get("task") is not None:
        values["task"] = Task(*values["task"])
    return _MESSAGES[name](**values)


def differences(path: Path) -> Iterator[str | None]:
    """For each recorded report: None, or in which way a new dispatcher's commands differ.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no recording.
    """
    dispatcher: Dispatcher | None = None
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not text.endswith("\n"):
            return  # the process died while it wrote
        line = json.loads(text)
        if "rules" in line:
            dispatcher = Dispatcher(Rules(**line["rules"]))
            continue
        if dispatcher is None:
            raise ValueError(f"line {number} comes before any rules")
        commands = dispatcher.handle(_decode(*line["report"]), line["at"])
        expected = [_decode(*command) for command in line["commands"]]
        yield None if commands == expected else f"line {number}: recorded {expected}, now {commands}"


def main() -> int:
    """Replay a file; the exit code says whether the commands are the same."""
    count = 0
    try:
        for difference in differences(Path(sys.argv[1])):
            count += 1
            if difference is not None:
                print(difference, file=sys.stderr)
                return 1
    except IndexError:
        print("usage: replay-dispatch FILE, as --record-dispatch wrote it", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {sys.argv[1]} is no recording: {error}", file=sys.stderr)
        return 2
    print(f"{count} reports, and after each the same commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
