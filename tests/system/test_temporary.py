import os
import subprocess
import sys
from pathlib import Path

from distpg.system.temporary import temporary_directory

DIES = """
import os, sys
from pathlib import Path
from distpg.system.temporary import temporary_directory
with temporary_directory("x-", Path(sys.argv[1])) as path:
    (path / "file").touch()
    os._exit(9)
"""


def test_it_is_there_and_then_it_is_not(tmp_path: Path) -> None:
    with temporary_directory("x-", tmp_path) as path:
        (path / "below").mkdir()
        (path / "below/file").touch()
        assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "x-link").symlink_to("elsewhere")
    (tmp_path / "x-file").touch()
    (tmp_path / "x-new").mkdir()
    (tmp_path / "x-old").mkdir()
    os.utime(tmp_path / "x-old", (0, 0))
    others = {"elsewhere", "x-link", "x-file", "x-new"}
    with temporary_directory("x-", tmp_path) as used:
        result = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
        assert result.returncode == 9
        left = {path.name for path in tmp_path.iterdir()} - others - {used.name}
        assert len(left) == 1
        with temporary_directory("x-", tmp_path) as path:
            assert {path.name for path in tmp_path.iterdir()} == {*others, used.name, path.name}
        assert used.is_dir()
    assert (tmp_path / "elsewhere/file").exists()
