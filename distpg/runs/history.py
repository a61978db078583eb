"""A run's logs as a resumed run finds them: cut back, as if it had never stopped, and mended.

From where a run goes on is never theirs to say: a checkpoint holds all that is needed. Of a damaged log whole
lines are kept, in order and none twice. What it has lost stays lost, and is said.
"""

import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from distpg.core.events import LogsIncomplete
from distpg.errors import shortened
from distpg.runs.metrics import EPISODE_HEADER
from distpg.runs.progress import Progress
from distpg.system.files import write_atomically, writing

_EPISODE = re.compile(rb"(\d+),(\d+),\d+,[-+.\de]+,\d+,(?:true|false),[\da-f]{16}\n")


def mend_logs(run: Path, progress: Progress, episodes_per_iteration: int) -> list[LogsIncomplete]:
    """Keep what the files say of the iterations in ``progress``, and all whole events.

    What is not there of these iterations is returned; raises StorageError where a file cannot be written.
    """

    def iteration_of(line: bytes) -> int | None:
        try:
            metrics = json.loads(line)
            number = metrics["training_iteration"]
            is_right = metrics["num_episodes_lifetime"] == number * episodes_per_iteration
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return int(number) if is_right else None

    def episode_of(line: bytes) -> int | None:
        found = _EPISODE.fullmatch(line)
        is_right = found is not None and int(found[1]) // episodes_per_iteration + 1 == int(found[2])
        return int(found[1]) if found is not None and is_right else None

    with writing(run):
        iterations = _keep(run / "metrics.jsonl", iteration_of, range(1, progress.iterations + 1))
        episodes = _keep(run / "episodes.csv", episode_of, range(progress.episodes), EPISODE_HEADER.encode())
        _rewrite(run / "events.jsonl", b"".join(_whole_lines(run / "events.jsonl")))
        steps = [
            step
            for path in run.glob("events.out.tfevents.*")
            for step in _keep_tensorboard(path, progress.iterations)
        ]
        (run / "result.json").unlink(missing_ok=True)
    counts = Counter(episode // episodes_per_iteration + 1 for episode in episodes)
    there = {
        "metrics.jsonl": iterations,
        "episodes.csv": [number for number, count in counts.items() if count == episodes_per_iteration],
        "events.out.tfevents": steps,
    }
    missing = {name: set(range(1, progress.iterations + 1)) - set(kept) for name, kept in there.items()}
    return [LogsIncomplete(name, _in_words(numbers)) for name, numbers in missing.items() if numbers]


def _in_words(numbers: Iterable[int]) -> str:
    """Whole numbers by their runs: ``3, 7 to 9``."""
    runs = itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    words = (f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)
    return shortened(", ".join(words))


def _keep(
    path: Path, number_of: Callable[[bytes], int | None], numbers: range, header: bytes = b""
) -> list[int]:
    """Leave only whole lines whose numbers are among ``numbers`` and rise; returns these numbers."""
    lines, kept = [header], [numbers.start - 1]
    for line in _whole_lines(path):
        number = number_of(line)
        if number is not None and number in numbers and number > kept[-1]:
            lines.append(line)
            kept.append(number)
    _rewrite(path, b"".join(lines))
    return kept[1:]


def _whole_lines(path: Path) -> list[bytes]:
    # A line without its end was being written when the process died.
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith(b"\n")]


def _rewrite(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() != content:
        write_atomically(path, content)


def _keep_tensorboard(path: Path, iterations: int) -> list[int]:
    """Leave the records of the first so many iterations; returns those of which there is one."""
    kept = [pair for pair in _tensorboard_records(path.read_bytes()) if pair[1] <= iterations]
    _rewrite(path, b"".join(record for record, _ in kept))
    if not kept:
        path.unlink()
    return [step for _, step in kept]


def _tensorboard_records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Each whole record, and its event's step."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    # A record is its length in 8 bytes, their checksum in 4, the event, and its checksum in 4.
    at = 0
    while at + 16 <= len(content):
        length = content[at : at + 8]
        end = at + 16 + int.from_bytes(length, "little")
        # Where a length is damaged, or zeros that a power cut left, nobody finds the next record.
        if end > len(content) or masked_crc32c(length) != int.from_bytes(content[at + 8 : at + 12], "little"):
            return
        with contextlib.suppress(DecodeError):
            yield content[at:end], Event.FromString(content[at + 12 : end - 4]).step
        at = end
