import contextlib
from pathlib import Path

import pytest

from distpg.errors import StorageError
from distpg.training.endings import draw_and_close


@pytest.mark.parametrize("are_elsewhere", [True, False])
def test_figures_that_cannot_be_drawn_leave_no_runners(tmp_path: Path, are_elsewhere: bool) -> None:
    closed: list[str] = []
    with contextlib.ExitStack() as runners:
        runners.callback(closed.append, "runners")
        with pytest.raises(StorageError, match="is not a run directory"):
            draw_and_close(tmp_path, runners, are_elsewhere)
    assert closed == ["runners"]


def test_runners_that_cannot_be_closed_leave_no_figure_half_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr("distpg.training.endings.plot_run", drawn.append)

    def interrupted() -> None:
        raise KeyboardInterrupt

    runners = contextlib.ExitStack()
    runners.callback(interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_and_close(tmp_path, runners, are_elsewhere=True)
    assert drawn == [tmp_path]
