from pathlib import Path

import pytest

from distpg.system import files


def test_each_new_directory_is_made_durable_in_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    files.make_directories(tmp_path / "a/b/c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    files.make_directories(tmp_path / "a/b/c")
    assert len(synced) == 3, "nothing was new"
