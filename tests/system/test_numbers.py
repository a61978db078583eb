import subprocess
import sys
from pathlib import Path

import pytest

from distpg.system.numbers import Number


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_the_smallest_that_nobody_has() -> None:
    numbers = [Number.free() for _ in range(3)]
    assert [number.value for number in numbers] == [0, 1, 2]
    numbers[1].release()
    numbers[1].release()
    again = Number.free()
    assert again.value == 1
    for number in (*numbers, again):
        number.release()


def test_nor_another_process_until_it_ends() -> None:
    program = "from distpg.system.numbers import Number; print(Number.free().value, flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "0\n"
    mine = Number.free()
    assert mine.value == 1
    child.kill()
    child.communicate()
    other = Number.free()
    assert other.value == 0
    mine.release()
    other.release()
