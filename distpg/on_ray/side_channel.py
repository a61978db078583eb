"""What goes past the calls to runners and their answers: how far they are, and what need not be played.

An environment plays in the main thread of its runner, as some can nowhere else, and Ray runs nothing beside
it. So a second thread there tells and looks, by way of the key-value store that every Ray cluster has.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_NAMESPACE = b"distpg"
_TIMEOUT_S = 2.0
# Who has been at work for so long, and told nothing in that share of the time, tells how far he is.
_TELL_AFTER = 0.25


class Doing(NamedTuple):
    """What a runner is at: a call, or 0 where it is on its way to join, since when, and how far it is.

    ``since`` is of the monotonic clock. What counts as a step on the way to join is for the runner to say.
    """

    call: int
    since: float
    steps: int


class Beat(NamedTuple):
    """What is told of it, with a number that counts up."""

    number: int
    call: int
    steps: int


@dataclass(frozen=True)
class SideChannel:
    """Between a group, which ``name`` tells from others on its cluster, and its runners.

    Attributes:
        beat_s: Seconds between two beats of a runner that is at work, at least.
    """

    name: str
    beat_s: float

    def told(self, runner: int, doing: Callable[[], Doing | None]) -> Iterator[tuple[int, bool]]:
        """Tell how far a runner is whenever it does anything, for ever; what it hears each time.

        Yields:
            The last call that was withdrawn, and whether all is to stop.
        """
        last = 0.0
        for number in itertools.count(1):
            time.sleep(self.beat_s)
            now, found = time.monotonic(), doing()
            if found is None or now - max(last, found.since) < _TELL_AFTER * (now - found.since):
                continue
            last = now
            try:
                heard = self._tell(runner, Beat(number, found.call, found.steps))
            except Exception:  # Ray's are of many kinds; the next beat may get through
                continue
            yield heard

    def _tell(self, runner: int, beat: Beat) -> tuple[int, bool]:
        _store().internal_kv_put(
            self._key("beat", runner), b"%d %d %d" % beat, True, _NAMESPACE, timeout=_TIMEOUT_S
        )
        withdrawn, stop = self._key("withdrawn", runner), self._key("stop")
        found = _get([withdrawn, stop])
        return int(found.get(withdrawn, b"0")), stop in found

    def beats(self, runners: Iterable[int]) -> dict[int, Beat]:
        """What runners said last, of those that said anything; nothing where the cluster does not answer."""
        keys = {self._key("beat", runner): runner for runner in runners}
        with contextlib.suppress(Exception):  # a cluster that is gone shows elsewhere
            return {keys[key]: Beat(*map(int, value.split())) for key, value in _get([*keys]).items()}
        return {}

    def withdraw(self, runner: int, call: int) -> None:
        """The call that waits at a runner need not be played."""
        self._put(self._key("withdrawn", runner), b"%d" % call)

    def stop(self) -> None:
        """Nothing need be played any more."""
        self._put(self._key("stop"), b"1")

    def clear(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(Exception):
            _store().internal_kv_del(self._key(""), True, _NAMESPACE, timeout=_TIMEOUT_S)

    def _put(self, key: bytes, value: bytes) -> None:
        with contextlib.suppress(Exception):
            _store().internal_kv_put(key, value, True, _NAMESPACE, timeout=_TIMEOUT_S)

    def _key(self, kind: str, runner: int | None = None) -> bytes:
        return f"{self.name}/{kind}{'' if runner is None else runner}".encode()


def _store() -> Any:
    from ray.experimental import internal_kv

    return internal_kv.internal_kv_get_gcs_client()


def _get(keys: list[bytes]) -> Mapping[bytes, bytes]:
    found: Mapping[bytes, bytes] = _store().internal_kv_multi_get(keys, _NAMESPACE, timeout=_TIMEOUT_S)
    return found
