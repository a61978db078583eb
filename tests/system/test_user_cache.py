import os
import subprocess
import sys
from pathlib import Path

import pytest

from distpg.system.user_cache import cache_directory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")


@pytest.mark.parametrize("value", ["", "relative"])
def test_without_a_usable_xdg_cache_home_it_is_in_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_directory() == tmp_path / ".cache/distpg"


def test_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "distpg"
    assert list(tmp_path.iterdir()) == [], "it is not made"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    with pytest.raises(RuntimeError, match="home"):
        cache_directory()


def test_a_run_does_without_a_home(tmp_path: Path) -> None:
    """From the first import to the figures, and without a word."""
    variables = {**os.environ, "HOME": "/dev/null/home"}
    del variables["XDG_CACHE_HOME"]
    command = [sys.executable, "-m", "distpg", "train", "--quiet", "--num-env-runners", "0"]
    result = subprocess.run(
        [*command, "--max-iterations", "1", "--run-dir", str(tmp_path / "run")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "run/learning_curve.png").exists()
