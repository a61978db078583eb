"""A run's files cut back to an earlier iteration, so that a resumed run reads as if it had never stopped."""

import json
from collections.abc import Callable
from pathlib import Path

from distpg.system.files import write_atomically, writing


def recorded_iterations(run: Path, episodes_per_iteration: int) -> int:
    """Iterations that metrics.jsonl and episodes.csv have whole, counted from the first.

    A process that dies leaves a torn last line, or episodes whose iteration is not in metrics.jsonl yet.
    """
    iterations = _count_in_order(_whole_lines(run / "metrics.jsonl"), _is_iteration)
    lines = _whole_lines(run / "episodes.csv")[1:]
    episodes = _count_in_order(lines, lambda line, index: line.startswith(b"%d," % index))
    return min(iterations, episodes // episodes_per_iteration)


def _count_in_order(lines: list[bytes], is_right: Callable[[bytes, int], bool]) -> int:
    wrong = (index for index, line in enumerate(lines) if not is_right(line, index))
    return next(wrong, len(lines))


def _is_iteration(line: bytes, index: int) -> bool:
    try:
        return bool(json.loads(line)["training_iteration"] == index + 1)
    except (ValueError, KeyError, TypeError):
        return False


def _whole_lines(path: Path) -> list[bytes]:
    if not path.is_file():
        return []
    # A line without its end was being written when the process died.
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def cut_back(run: Path, iterations: int, episodes: int) -> None:
    """Keep what the files say of the first iterations, and all whole events; raises StorageError."""
    with writing(run):
        _keep_lines(run / "metrics.jsonl", iterations)
        _keep_lines(run / "episodes.csv", episodes + 1 if episodes else 0)
        _keep_lines(run / "events.jsonl", None)
        for path in run.glob("events.out.tfevents.*"):
            _keep_tensorboard_records(path, iterations)
        (run / "result.json").unlink(missing_ok=True)


def _keep_lines(path: Path, count: int | None) -> None:
    if path.is_file():
        kept = b"".join(_whole_lines(path)[:count])
        if len(kept) != path.stat().st_size:
            write_atomically(path, kept)


def _keep_tensorboard_records(path: Path, iterations: int) -> None:
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    # A record is its length in 8 bytes, their checksum in 4, the event, and its checksum in 4.
    data = path.read_bytes()
    end = 0
    while end + 12 <= len(data):
        length = int.from_bytes(data[end : end + 8], "little")
        following = end + 12 + length + 4
        if following > len(data):
            break
        try:
            event = Event.FromString(data[end + 12 : end + 12 + length])
        except DecodeError:
            break  # zeros, where a power cut lost what was not on the disk yet
        if event.step > iterations:
            break
        end = following
    if end == 0:
        path.unlink()
    elif end != len(data):
        write_atomically(path, data[:end])
