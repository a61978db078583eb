import contextlib
import locale
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distpg.system import surroundings
from distpg.system.surroundings import theirs


@pytest.fixture(autouse=True)
def _a_new_world(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_changes", {})
    monkeypatch.setenv("GONE", "1")


def settings() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "directory": Path.cwd(),
        "variables": (os.environ.get("NEW"), os.environ.get("GONE")),
        "umask": umask,
        "filters": list(warnings.filters),
        "numpy": np.geterr(),
        "torch": (torch.get_num_threads(), torch.get_default_dtype()),
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
    }


def change_all() -> None:
    Path("data").mkdir(exist_ok=True)
    os.chdir("data")
    os.environ["NEW"] = "1"
    del os.environ["GONE"]
    os.umask(0o007)
    warnings.simplefilter("ignore", UserWarning)
    np.seterr(all="raise")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    locale.setlocale(locale.LC_ALL, "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8")
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)


def test_each_has_its_own_world() -> None:
    before = settings()
    with theirs():
        change_all()
        changed = settings()
    assert settings() == before
    assert all(changed[name] != before[name] for name in before)
    with theirs():
        assert settings() == changed, "an environment finds what it left"
        with theirs():
            os.environ["NEW"] = "2"
        assert settings()["variables"] == ("2", None), "within it is the same world"
    assert settings() == before
    with contextlib.suppress(ZeroDivisionError), theirs():
        os.umask(0o027)
        raise ZeroDivisionError
    assert settings() == before


def test_what_environments_have_not_changed_is_as_it_is_here(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with theirs():
        os.environ["NEW"] = "1"
    (in_tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    monkeypatch.setenv("GONE", "2")
    with theirs():
        assert settings()["variables"] == ("1", "2")
        assert Path.cwd() == in_tmp_path / "elsewhere"


def test_directories_that_are_removed_do_no_harm(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_tmp_path / "theirs").mkdir()
    with theirs():
        os.chdir("theirs")
    (in_tmp_path / "theirs").rmdir()
    with theirs():
        assert Path.cwd() == in_tmp_path
    (in_tmp_path / "ours").mkdir()
    monkeypatch.chdir("ours")
    (in_tmp_path / "ours").rmdir()
    with theirs():
        os.chdir(in_tmp_path)
    os.chdir(in_tmp_path)
