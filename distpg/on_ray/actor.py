"""The Ray actor that wraps an EnvRunner; calls and answers travel as bytes."""

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import ray

from distpg.sampling.env_runner import Answer, EnvRunner, EnvRunnerSpec
from distpg.sampling.fingerprint import fingerprint

_PICKLE = pickle.HIGHEST_PROTOCOL


class Introduction(NamedTuple):
    """What a runner that wants to join is judged by.

    Attributes:
        numerics: Digest of its arithmetic, and environment: of what its environment plays.
        repeats: Whether the environment plays the same again; without that its digest means nothing.
    """

    distpg: str
    numerics: str
    environment: str
    repeats: bool


class RayEnvRunner:
    """The actor; `ps` shows it as ray::RayEnvRunner.

    Calls and answers travel as bytes, since Ray's own serialisation takes several times as long for a handful
    of small arrays, and would serialise the weights again for every runner.
    """

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._spec = spec
        self._runner = EnvRunner(spec)
        self._withdrawn: set[int] = set()

    @ray.method(concurrency_group="heartbeat")
    def placed(self) -> None:
        """Answers as soon as the process is up."""

    def join(self) -> Introduction:
        """Once the process is up: what it is."""
        plays = [fingerprint(self._spec) for _ in range(2)]
        if plays[0] != plays[1]:
            # An exception that comes once is no more than that: two of three decide.
            plays.append(fingerprint(self._spec))
        mine, times = Counter(plays).most_common(1)[0]
        return Introduction(mine.distpg, mine.numerics, mine.environment, times > 1)

    def answer(self, call: int, tasks: bytes, weights: bytes) -> bytes:
        """:meth:`EnvRunner.answer`, encoded on both ways; empty where the call was withdrawn.

        Args:
            call: Its number; later calls of the same group have higher ones.
        """
        is_withdrawn = call in self._withdrawn
        self._withdrawn = {other for other in self._withdrawn if other > call}
        if is_withdrawn:
            return b""
        return encode(self._runner.answer(pickle.loads(tasks), pickle.loads(weights)))

    @ray.method(concurrency_group="heartbeat")
    def withdraw(self, call: int) -> None:
        """Leave out a call that waits behind another one."""
        self._withdrawn = self._withdrawn | {call}  # a new set: the other thread may be reading this one

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> int:
        """Steps so far, from a second thread: it answers while the first one plays."""
        return self._runner.steps


def new_actors(
    spec: EnvRunnerSpec, num_cpus: float, actor_class: type[RayEnvRunner] = RayEnvRunner
) -> Callable[[int], Any]:
    """A function that starts the actor of the runner with a given number.

    Args:
        num_cpus: CPUs that each asks Ray for; fractions allowed.
    """
    # Ray's own restarts and retries take seconds, and would hide a death from the dispatcher.
    remote = ray.remote(
        num_cpus=num_cpus, max_restarts=0, max_task_retries=0, concurrency_groups={"heartbeat": 1}
    )(actor_class)
    return lambda number: remote.remote(spec)


def encode(value: object) -> bytes:
    """What travels between this process and runners that it started."""
    return pickle.dumps(value, _PICKLE)


def decode_answer(answer: bytes) -> Answer:
    """The answer of a runner that this process started."""
    decoded: Answer = pickle.loads(answer)
    return decoded
