import ctypes
import os
import subprocess
import sys

import pytest

from distpg.system.streams import own_stdout


def test_answers_go_out_and_all_else_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with own_stdout() as out:
        print("an environment")
        os.write(1, b"a descriptor\n")
        ctypes.CDLL(None).puts(b"a library")
        print("answer", file=out, flush=True)
    print("after")
    captured = capfd.readouterr()
    assert captured.out == "answer\nafter\n"
    assert sorted(captured.err.splitlines()) == ["a descriptor", "a library", "an environment"]


def test_a_stream_that_is_no_descriptor_gets_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with own_stdout() as out:
        print("an environment")
        print("answer", file=out)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("answer\n", "an environment\n")


def test_without_standard_error() -> None:
    script = (
        "import os; os.close(2)\n"
        "from distpg.system.streams import own_stdout\n"
        "with own_stdout() as out:\n"
        "    os.write(1, b'lost'); print('answer', file=out)\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "answer\nafter\n"
