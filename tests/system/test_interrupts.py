import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import distpg
from distpg.system.interrupts import Interrupted, Interrupts

WARNINGS = [signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, *WARNINGS])
def test_each_signal_ends_what_goes_on_but_not_what_is_held(number: signal.Signals) -> None:
    with pytest.raises(Interrupted), Interrupts():
        os.kill(os.getpid(), number)
    done = []

    def hold() -> None:
        with Interrupts() as interrupts, interrupts.held():
            os.kill(os.getpid(), number)
            done.append(number)

    with pytest.raises(Interrupted):
        hold()
    assert done == [number]


@pytest.mark.parametrize("number", WARNINGS)
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_what_is_ignored_or_handled_stays_so(number: signal.Signals, handler: signal.Handlers) -> None:
    before = signal.signal(number, handler)
    try:
        with Interrupts() as outer, Interrupts():
            outer.install()
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) == handler
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in WARNINGS]
    with Interrupts(), Interrupts() as inner:
        inner.install()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGHUP)
    assert [signal.getsignal(number) for number in WARNINGS] == before


SAVES = """
import os, signal, sys
from distpg.system.interrupts import Interrupted, Interrupts
try:
    with Interrupts() as interrupts:
        try:
            os.kill(os.getpid(), int(sys.argv[1]))
        finally:
            with interrupts.held():
                for number in map(int, sys.argv[2:]):
                    os.kill(os.getpid(), number)
                print("saved", flush=True)
except Interrupted:
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("numbers", "code", "printed"),
    [
        ((signal.SIGUSR1, signal.SIGTERM), 3, "saved\n"),
        ((signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR1, signal.SIGINT), 3, "saved\n"),
        ((signal.SIGTERM, signal.SIGHUP), 3, "saved\n"),
        ((signal.SIGINT, signal.SIGINT), 130, ""),
        ((signal.SIGHUP, signal.SIGTERM, signal.SIGTERM), 130, ""),
    ],
)
def test_what_is_saved_after_the_first_signal_is_saved(
    numbers: tuple[int, ...], code: int, printed: str
) -> None:
    command = [sys.executable, "-c", SAVES, *(str(int(number)) for number in numbers)]
    variables = {**os.environ, "PYTHONPATH": str(Path(distpg.__file__).parent.parent)}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, printed, "")
