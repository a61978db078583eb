"""Disks that fill up, vanish or forbid, and processes that die between two operations on files."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.errors import StorageError
from distpg.runs.checkpoints import checkpoint_numbers, load_checkpoint, newest_checkpoint
from distpg.training.trainer import Listeners

ITERATIONS = 8
FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


def config(run: Path, **options: object) -> TrainConfig:
    defaults: dict = {
        "num_env_runners": 0,
        "seed": 5,
        "max_iterations": ITERATIONS,
        "checkpoint_every": 3,
        "keep_checkpoints": 1,
        "hidden_sizes": (8,),
    }
    return TrainConfig(**{**defaults, **options}, run_dir=str(run))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    distpg.train(config(run))
    return run


def digest(run: Path) -> str:
    return str(json.loads((run / "result.json").read_text())["weights_digest"])


def assert_as_undisturbed(run: Path, undisturbed: Path) -> None:
    assert digest(run) == digest(undisturbed)
    assert (run / "episodes.csv").read_text() == (undisturbed / "episodes.csv").read_text()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == ITERATIONS


def after(iterations: int, act: Callable[[], object]) -> Listeners:
    def on_iteration(metrics: dict) -> None:
        if metrics["training_iteration"] == iterations:
            act()

    return Listeners(on_iteration=on_iteration)


def resume_by_command(run: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capfd.readouterr()
    code = main(["resume", str(run), "--quiet"])
    captured = capfd.readouterr()
    assert captured.out == ""
    return code, captured.err.splitlines()


# Full, forbidden, gone.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a run, but not for much more."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    # 80 MiB: a run starts only where it has 64.
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a disk, where it may")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path, keep: int = 0) -> None:
    """Leave so many bytes."""
    with (disk / "filling").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(2**16))
        file.truncate(max(0, file.tell() - keep))


@pytest.mark.parametrize("keep", [0, 4096, 8192, 16384])
def test_a_full_disk(small_disk: Path, undisturbed: Path, keep: int) -> None:
    run = small_disk / "run"
    with pytest.raises(StorageError, match="No space left on device") as caught:
        distpg.train(config(run, max_iterations=1000), after(4, lambda: fill(small_disk, keep)))
    assert caught.value.hint.startswith("Make room")
    number = checkpoint_numbers(run)[-1]
    assert number >= 3
    load_checkpoint(run, number)
    (small_disk / "filling").unlink()
    lower_limit(run)
    distpg.resume(run)
    assert_as_undisturbed(run, undisturbed)


def lower_limit(run: Path) -> None:
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**values, "max_iterations": ITERATIONS}))


def test_a_disk_too_full_to_start(small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(small_disk, keep=2**20)
    assert main(["train", "--num-env-runners", "0", "--run-dir", str(small_disk / "run")]) == 2
    error, hint = capfd.readouterr().err.splitlines()
    assert "has 1 MiB left" in error
    assert hint.startswith("hint: Make room")
    assert not (small_disk / "run").exists()


def test_a_disk_that_becomes_read_only(
    small_disk: Path, undisturbed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = small_disk / "run"

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distpg.train(config(run), after(4, stop))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, (error, hint) = resume_by_command(run, capfd)
    assert code == 1
    assert "Read-only file system" in error
    assert "make the directory writable" in hint
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert resume_by_command(run, capfd) == (0, [])
    assert_as_undisturbed(run, undisturbed)


def test_a_directory_that_becomes_read_only(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(StorageError, match="Permission denied"):
        distpg.train(config(run), after(4, lambda: (run / "checkpoints").chmod(0o500)))
    (run / "checkpoints").chmod(0o700)
    distpg.resume(run)
    assert_as_undisturbed(run, undisturbed)


@pytest.mark.parametrize("what", ["", "checkpoints", "metrics.jsonl", "config.json"])
def test_what_vanishes_or_moves_in_the_middle(tmp_path: Path, undisturbed: Path, what: str) -> None:
    """The directory, or a file of it, is renamed while the run goes on, and put back."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with contextlib.suppress(StorageError):
        distpg.train(config(run), after(4, lambda: (run / what).rename(elsewhere)))
    if what == "":
        assert not run.exists(), "it is not made again"
    shutil.rmtree(run / what, ignore_errors=True)
    elsewhere.rename(run / what)
    distpg.resume(run)
    assert_as_undisturbed(run, undisturbed)


def test_a_directory_that_is_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(StorageError, match="No such file or directory"):
        distpg.train(config(run), after(4, lambda: shutil.rmtree(run)))
    assert not run.exists()


def test_as_a_user_sees_it(tmp_path: Path) -> None:
    """Exit code 1, two lines, and no more words from the threads and files that are closed."""
    script = """
import shutil, sys, distpg.training.trainer
from distpg.commands.cli import main
iterate = distpg.training.trainer.iterate
def iterate_and_remove(*arguments):
    for metrics in iterate(*arguments):
        yield metrics
        shutil.rmtree("run", ignore_errors=True)
distpg.training.trainer.iterate = iterate_and_remove
sys.exit(main(sys.argv[1:]))
"""
    arguments = ["train", "--num-env-runners", "0", "--run-dir", "run", "--quiet", "--checkpoint-every", "2"]
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(distpg.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: cannot write run")
    assert hint.startswith("hint: ")


# The process dies at the n-th operation on files.

DYING = """
import io, os, pathlib, sys
import distpg
from distpg.runs.checkpoints import save_checkpoint
from distpg.config.train_config import TrainConfig
import distpg.learning.learner, distpg.runs.plots, distpg.runs.recorder, distpg.training.trainer, tensorboardX

directory, fatal_save = pathlib.Path(sys.argv[1]), int(sys.argv[2])
at = operations = saves = 0
counting = False

def dies():
    global operations
    operations += counting
    return counting and operations == at

def counted(function):
    def replacement(*arguments, **options):
        if dies():
            os._exit(9)
        return function(*arguments, **options)
    return replacement

class DyingFile(io.BufferedWriter):
    # Half of what is written reaches the file when the process dies in the middle.
    def write(self, data):
        if dies():
            super().write(data[: len(data) // 2])
            super().flush()
            os._exit(9)
        return super().write(data)

original_open = pathlib.Path.open
def open_file(self, mode="r", *arguments, **options):
    if counting and mode == "wb":
        return DyingFile(io.FileIO(self, "w"))
    return original_open(self, mode, *arguments, **options)

pathlib.Path.open = counted(open_file)
for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "open"):
    setattr(os, name, counted(getattr(os, name)))

def save(*arguments):
    global counting, saves
    saves += 1
    counting = saves == fatal_save
    save_checkpoint(*arguments)
    if counting:
        os._exit(0)

distpg.runs.recorder.save_checkpoint = save
status = 9
while status == 9:
    # A process for each operation; the first that lives through the checkpoint is the last.
    at += 1
    child = os.fork()
    if child == 0:
        distpg.train(TrainConfig(
            num_env_runners=0, seed=5, max_iterations=8, checkpoint_every=3, keep_checkpoints=1,
            hidden_sizes=(8,), run_dir=str(directory / str(at))))
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(at, status)
"""


# The third save is that of iteration 6, which also removes the checkpoint of iteration 3.
@pytest.mark.parametrize(("save", "allowed"), [(1, [None, 0]), (3, [3, 6])])
def test_killed_at_each_operation_of_a_checkpoint(
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    save: int,
    allowed: list[int | None],
) -> None:
    # Figures are drawn last of all, and would take most of the time.
    monkeypatch.setattr("distpg.training.endings.plot_run", lambda run: None)
    result = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(save)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(distpg.__file__).parent.parent,
    )
    assert result.returncode == 0, result.stderr
    operations, status = map(int, result.stdout.split())
    assert status == 0, result.stderr
    assert operations > 15, "every write, sync, rename and removal is counted"
    found = []
    for operation in range(1, operations + 1):
        run = tmp_path / str(operation)
        newest = newest_checkpoint(run, on_damaged=lambda error: pytest.fail(error.message))
        found.append(None if newest is None else newest.progress.iterations)
        distpg.resume(run)
        assert_as_undisturbed(run, undisturbed)
        names = {path.name for path in (run / "checkpoints").iterdir()}
        assert not {name for name in names if name.startswith(".")}, "what was half done is removed"
    # The checkpoint before, until the rename; then this one.
    assert list(dict.fromkeys(found)) == allowed


# Damage that is found when the run goes on.


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_costs_iterations_but_no_bits(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "result.json").unlink()
    path = run / f"checkpoints/{ITERATIONS:06}" / name
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "cut": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "empty": b"",
            }[damage]
        )
    assert resume_by_command(run, capfd) == (0, [])
    assert_as_undisturbed(run, undisturbed)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (found,) = [event for event in events if event["event"] == "checkpoint_damaged"]
    assert f"{ITERATIONS:06}" in found["why"]
    load_checkpoint(run, ITERATIONS)
