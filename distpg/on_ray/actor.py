"""The Ray actor, and whether a runner that wants to join plays what the others play."""

from __future__ import annotations

import pickle
from collections import Counter

import ray

from distpg.core.events import NotReproducible, OnEvent
from distpg.sampling import env_runner as env_runners
from distpg.sampling.env_runner import Answer, EnvRunnerSpec
from distpg.sampling.fingerprint import fingerprint, numerics_digest
from distpg.system.numerics import was_pinned_late
from distpg.system.version import __version__

_PICKLE = pickle.HIGHEST_PROTOCOL

# Version of distpg, digests of numerics and environment, and whether the environment plays the same again.
Introduction = tuple[str, str, str, bool]


class EnvRunner(env_runners.EnvRunner):
    """The actor; named so that `ps` shows ray::EnvRunner.

    Calls and answers travel as bytes, since Ray's own serialisation takes several times as long for a handful
    of small arrays, and would serialise the weights again for every runner.
    """

    def __init__(self, spec: EnvRunnerSpec) -> None:
        super().__init__(spec)
        self._withdrawn: set[int] = set()

    @ray.method(concurrency_group="heartbeat")
    def placed(self) -> None:
        """Answers as soon as the process is up."""

    def join(self) -> Introduction:
        """Once the process is up: what :class:`Admission` judges it by.

        Without an environment that plays the same again its digest means nothing.
        """
        plays = [fingerprint(self._spec) for _ in range(2)]
        if plays[0] != plays[1]:
            # An exception that comes once is no more than that: two of three decide.
            plays.append(fingerprint(self._spec))
        mine, times = Counter(plays).most_common(1)[0]
        return mine.distpg, mine.numerics, mine.environment, times > 1

    def answer_bytes(self, call: int, tasks: bytes, weights: bytes) -> bytes:
        """:meth:`answer`, pickled on both ways between processes of one run; empty where it was withdrawn.

        Args:
            call: Its number; later calls of the same group have higher ones.
        """
        is_withdrawn = call in self._withdrawn
        self._withdrawn = {other for other in self._withdrawn if other > call}
        if is_withdrawn:
            return b""
        return encode(self.answer(pickle.loads(tasks), pickle.loads(weights)))

    @ray.method(concurrency_group="heartbeat")
    def withdraw(self, call: int) -> None:
        """Leave out a call that waits behind another one."""
        self._withdrawn = self._withdrawn | {call}  # a new set: the other thread may be reading this one

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> int:
        """Steps so far, from a second thread: it answers while the first one plays."""
        return self.steps


def encode(value: object) -> bytes:
    """What travels between this process and runners that it started."""
    return pickle.dumps(value, _PICKLE)


def decode_answer(answer: bytes) -> Answer:
    """The answer of a runner that this process started."""
    decoded: Answer = pickle.loads(answer)
    return decoded


class Admission:
    """Compares runners, as they join, with this process and with the first of them."""

    def __init__(self, spec: EnvRunnerSpec, is_reproducible: bool, on_event: OnEvent) -> None:
        self._is_reproducible = is_reproducible
        self._on_event = on_event
        self._numerics = numerics_digest(spec.policy)
        self._environment: str | None = None

    def difference(self, introduction: Introduction) -> str | None:
        """What makes a runner's episodes other than those of this process and the other runners."""
        version, numerics, environment, repeats = introduction
        if not repeats and self._is_reproducible:
            self._is_reproducible = False
            self._not_reproducible("the environment plays differently each time")
        if numerics != self._numerics and was_pinned_late():
            # Not the runners' fault: they agree with one another, and with processes that begin with distpg.
            self._numerics = numerics
            self._not_reproducible("NumPy or torch was imported before distpg, which pins their arithmetic")
        if version != __version__:
            return f"it has distpg {version}, this process {__version__}"
        if numerics != self._numerics:
            return "its arithmetic differs from this process's: another kind of CPU, or other versions"
        if self._environment is None:
            self._environment = environment
        if self._is_reproducible and environment != self._environment:
            return "its environment plays differently from the first runner's: other versions or data"
        return None

    def _not_reproducible(self, why: str) -> None:
        self._on_event(NotReproducible(why))
