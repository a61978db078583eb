"""The Ray actor that wraps an EnvRunner; calls and answers travel as bytes."""

import threading
import time
from collections.abc import Callable
from typing import Any

import ray

from distpg.environments.contract import name_crashes
from distpg.on_ray.encoding import decode, decode_checked, encode
from distpg.on_ray.introduction import Introduction, introduce
from distpg.on_ray.side_channel import Doing, SideChannel
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.failures import StoppedError
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.system.numerics import runner_environment

# Seconds of computing on the way to join that are a sign of life.
_MOST_CPU_S = 60


class RayEnvRunner:
    """The actor; `ps` shows it as ray::RayEnvRunner. Environments play in its process's main thread.

    Calls and answers travel as bytes, since Ray's own serialisation takes several times as long for a handful
    of small arrays, and would serialise the weights again for every runner.
    """

    def __init__(self, spec: EnvRunnerSpec, number: int, channel: SideChannel) -> None:
        name_crashes()
        self._spec, self._number, self._channel = spec, number, channel
        self._runner = EnvRunner(spec)
        self._trial_steps = 0
        self._doing: tuple[int, float, int] | None = None  # a call, when it began, and steps before it
        self._loaded = self._asked = 0
        self._question: Any = None
        self._withdrawn = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def placed(self) -> None:
        """Answers as soon as the process is up, and whenever it has nothing else to do."""

    def join(self) -> Introduction:
        """Once the process is up: what it is."""
        self._doing = 0, time.monotonic(), 0
        introduction = introduce(self._spec, self._count)
        self._doing = None
        return introduction

    def _count(self) -> None:
        self._trial_steps += 1

    def _how_far(self) -> Doing | None:
        """From a second thread."""
        if self._doing is None:
            return None
        call, since, before = self._doing
        if call:
            return Doing(call, since, self._runner.steps - before)
        # On a busy machine imports alone take long. So what the process computes counts as well, in bounds.
        return Doing(call, since, self._trial_steps + min(int(time.process_time()), _MOST_CPU_S))

    def answer(
        self, call: int, tasks: bytes, number: int, digest: str, weights: Any, *question: Any
    ) -> bytes:
        """:meth:`EnvRunner.answer`, encoded on both ways; empty where nobody wants it any more.

        Args:
            call: Its number; later calls of the same group have higher ones.
            number: Of the weights, whose checksum is ``digest``: those that are loaded are not looked at.
            weights: Encoded, or in a list where the object store has them so.
            question: None, or its number, checksum and itself, likewise.
        """
        if call == self._withdrawn:
            return b""
        self._doing = call, time.monotonic(), self._runner.steps
        if number != self._loaded:
            self._runner.load(_decoded(digest, weights))
            self._loaded = number
        if question and question[0] != self._asked:
            self._question, self._asked = _decoded(*question[1:]), question[0]
        try:
            return encode(self._runner.answer(decode(tasks), self._question if question else None))
        except StoppedError:
            return b""
        finally:
            self._doing = None

    def _watch(self) -> None:
        """The second thread's: tells how far the first one is, and hears what it need not play."""
        for withdrawn, is_to_stop in self._channel.told(self._number, self._how_far):
            self._withdrawn = withdrawn
            if is_to_stop:
                self._runner.stop()

    def close(self) -> str | None:
        """Release the environments; what went wrong, if anything did."""
        return self._runner.close()


def _decoded(digest: str, payload: Any) -> Any:
    """What is encoded, or in a list where the object store has it so."""
    return decode_checked(ray.get(payload[0]) if isinstance(payload, list) else payload, digest)


def new_actors(
    spec: EnvRunnerSpec,
    num_cpus: float,
    actor_class: type[RayEnvRunner] = RayEnvRunner,
    has_environment: bool = True,
) -> Callable[[int, SideChannel], Any]:
    """A function that starts the actor of the runner with a given number.

    Args:
        num_cpus: CPUs that each asks Ray for; fractions allowed.
        has_environment: Whether the cluster's processes have :func:`runner_environment` already. Others start
            only when they are asked for, which takes a second.
    """
    # Ray's own restarts and retries take seconds, and would hide a death from the dispatcher.
    options: dict[str, Any] = {"num_cpus": num_cpus, "max_restarts": 0, "max_task_retries": 0}
    if not has_environment:
        options["runtime_env"] = {"env_vars": runner_environment()}
    remote = ray.remote(**options)(actor_class)
    return lambda number, channel: remote.remote(spec, number, channel)
