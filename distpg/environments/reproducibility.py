"""Is an environment a function of its seed and actions? Played in child processes, that is found out."""

import base64
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cloudpickle

from distpg.environments.contract import FirstLook
from distpg.environments.envs import Origin
from distpg.environments.making import EnvSpec
from distpg.environments.trace import Traces, differs
from distpg.environments.verdict_cache import cached_causes, keep_causes, verdict_key

EnvReuse = Literal["always", "episode", "seeded"]
_Circumstances = dict[str, Any]

# With this process's own search path: modules of the user's must be found, and no others hide ours.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[1:]
from distpg.environments.trace import main
main()
"""
# Seconds of playing in each of two processes, side by side; starting them takes about as long.
_BUDGET_S = 0.8
_DIAGNOSIS_BUDGET_S = 0.4
_TIMEOUT_S = 60.0
# What the test suite verifies need not be checked at each start.
_VERIFIED = ("gymnasium.envs.classic_control.", "distpg.environments.sleep_env:")

# What :func:`distpg.environments.trace.pretend` takes. Here everything that an environment could depend on is
# held fast, to vary one thing at a time.
_PINNED = {"global_seeds": (1, 1), "clock_shift": 1e6, "clock_tick": 1e-3}

CAUSES = {
    "reset": "state that survives reset: it plays differently in a used and in a new environment",
    "process": "state of the process: module or class variables outlive the environment",
    "python_random": "Python's global random generator (module random)",
    "numpy_random": "NumPy's global random generator (numpy.random)",
    "hash": "the order of sets of strings, which follows PYTHONHASHSEED (runners have 0)",
    "clock": "the clock (module time)",
    "other": "a generator that reset(seed) does not seed, the operating system's randomness, or threads",
    "unchecked": "not known",
}
_SEEDABLE = frozenset({"python_random", "numpy_random"})
_HOPELESS = frozenset({"process", "python_random", "numpy_random", "clock", "other"})


@dataclass(frozen=True)
class Verdict:
    """What, beside seed and actions, an environment depends on."""

    causes: tuple[str, ...] = ()
    """Keys of ``CAUSES``; none: it is a function of seed and actions, however often it is reused."""
    details: str | None = None
    """Why it could not be checked, where it could not."""

    @property
    def env_reuse(self) -> EnvReuse:
        """The cheapest way to use environments that does not change what an episode is.

        An environment that nothing makes reproducible is reused; one that could not be checked is not. Where
        the global generators are all that it depends on, they are seeded.
        """
        if self.is_seeded:
            return "seeded"
        if not _HOPELESS.isdisjoint(self.causes):
            return "always"
        return "episode" if {"reset", "unchecked"} & set(self.causes) else "always"

    @property
    def is_seeded(self) -> bool:
        """Whether it is reproducible where the global random generators are seeded at each reset."""
        causes = set(self.causes) - {"hash"}
        return bool(causes) and causes <= _SEEDABLE

    def why_not_reproducible(self, runners_hash_seed: str | None) -> str | None:
        """Why a run whose runners have this PYTHONHASHSEED is not reproducible; None as far as is known."""
        causes = [cause for cause in self.causes if cause in _HOPELESS and not self.is_seeded]
        if "hash" in self.causes and runners_hash_seed != "0":
            causes.append("hash")
        if not causes:
            return None
        return f"the environment depends on {'; on '.join(CAUSES[cause] for cause in causes)}"


def examine_and_keep(spec: EnvSpec, origin: Origin, look: FirstLook | None = None) -> Verdict:
    """As :func:`examine`; what was found out is known from then on."""
    verdict = examine(spec, look)
    if "unchecked" not in verdict.causes:
        keep_causes(verdict_key(spec, origin.kind), verdict.causes)
    return verdict


def known_verdict(spec: EnvSpec, origin: Origin) -> Verdict | None:
    """The verdict where it is known without playing; None where it is not."""
    return Verdict() if is_verified(origin) else kept_verdict(spec, origin)


def is_verified(origin: Origin) -> bool:
    """Whether it is one of those that the test suite plays."""
    return isinstance(origin.entry_point, str) and origin.entry_point.startswith(_VERIFIED)


def kept_verdict(spec: EnvSpec, origin: Origin) -> Verdict | None:
    """The verdict that other processes came to by playing it; None where they have not."""
    causes = cached_causes(verdict_key(spec, origin.kind), CAUSES)
    return None if causes is None else Verdict(causes)


def examine(spec: EnvSpec, look: FirstLook | None = None) -> Verdict:
    """Play it in processes that differ in all that it must not depend on; then, if need be, in one each.

    It takes about two seconds, or about as long as the environment takes to be made four times.

    Args:
        look: How long it takes to be made and to play, on which depends how long the processes get.
    """
    timeout_s = _TIMEOUT_S if look is None else _TIMEOUT_S + 4 * look.make_s + 16 * look.step_s
    try:
        # As runners are; then another process, at another time.
        here, elsewhere = _play(spec, _BUDGET_S, timeout_s, [({}, "0"), ({"clock_shift": 123_456.789}, "1")])
        if differs(here.first, elsewhere.first) or differs(here.first, here.again):
            causes = _diagnose(spec, timeout_s)
        else:
            causes = ("reset",) if differs(here.first, here.used) else ()
    except _NotPlayedError as error:
        return Verdict(("unchecked",), str(error))
    return Verdict(causes)


def _diagnose(spec: EnvSpec, timeout_s: float) -> tuple[str, ...]:
    """Causes found by varying one thing at a time; at least one."""
    varied = {
        "hash": (_PINNED, "1"),
        "python_random": ({**_PINNED, "global_seeds": (2, 1)}, "0"),
        "numpy_random": ({**_PINNED, "global_seeds": (1, 2)}, "0"),
        "clock": ({**_PINNED, "clock_shift": 2e6 + 0.5}, "0"),
    }
    pinned, same, *others = _play(
        spec, _DIAGNOSIS_BUDGET_S, timeout_s, [(_PINNED, "0"), (_PINNED, "0"), *varied.values()]
    )
    outlives = differs(pinned.first, pinned.again)
    # Where something outlives an environment, only the first play of each process has the same before it: how
    # far others go is a matter of time.
    plays = {"0": pinned.first["0"]} if outlives else pinned.first
    if differs(plays, same.first):
        # All the others would differ as well, whatever they vary.
        return ("other",)
    causes = [cause for cause, other in zip(varied, others, strict=True) if differs(plays, other.first)]
    if outlives:
        causes.append("process")
    elif differs(pinned.first, pinned.used):
        causes.append("reset")
    # Held fast all of it is the same: what differed is none of these.
    return tuple(causes) if set(causes) - {"reset"} else (*causes, "other")


class _NotPlayedError(Exception):
    """The environment cannot be made there, ended its process, or took too long."""


def _play(
    spec: EnvSpec, budget_s: float, timeout_s: float, processes: Sequence[tuple[_Circumstances, str]]
) -> list[Traces]:
    """The traces of child processes that run side by side, each with its PYTHONHASHSEED."""
    children: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + timeout_s
    try:
        for circumstances, hash_seed in processes:
            request = {"budget_s": budget_s, "circumstances": circumstances}
            # What only this program has travels as runners get it: by value, to a child of this process.
            if spec.is_of_this_program:
                request["pickled_env"] = base64.b64encode(cloudpickle.dumps(spec)).decode()
            else:
                request["env"] = asdict(spec)
            # By a file: arguments of environments may be longer than a command line.
            with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
                json.dump(request, file)
                file.seek(0)
                child = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, *sys.path],
                    stdin=file,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONHASHSEED": hash_seed},
                )
            children.append(child)
        return [_answer(child, timeout_s, deadline) for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _answer(child: subprocess.Popen[bytes], timeout_s: float, deadline: float) -> Traces:
    line = _first_line(child, deadline)
    if line is None:
        raise _NotPlayedError(f"it took more than {timeout_s:.0f} s")
    try:
        answer = json.loads(line)
    except ValueError as error:
        code = child.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
        raise _NotPlayedError(f"it ended the process that played it: {how}") from error
    if "error" in answer:
        raise _NotPlayedError(answer["error"])
    return Traces(**answer)


def _first_line(child: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """What a process says until its line ends or it does; None where neither comes in time.

    Its end is not waited for: what an environment leaves behind may keep it up.
    """
    assert child.stdout is not None
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            has_ended = child.poll() is not None
            if selector.select(0 if has_ended else 0.1):
                more = os.read(child.stdout.fileno(), 2**16)
                if not more:
                    break
                line += more
            elif has_ended:
                break
            if line.endswith(b"\n"):
                return line
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(max(0.0, deadline - time.monotonic()))
        return line
    return None
