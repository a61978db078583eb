import json
import shutil
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distpg.errors import CheckpointError
from distpg.learning.learner_state import LearnerState, Moments, ValueState
from distpg.runs.checkpoints import (
    Checkpoint,
    best_checkpoint,
    checkpoint_numbers,
    encode_state,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from distpg.runs.progress import Progress

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


def checkpoint(iterations: int = 5, mean: float = 20.0) -> Checkpoint:
    learner = LearnerState(
        weights={"layers.0.weight": np.array([[1, -0.0], [np.float32(1e-45), 3]], np.float32)},
        optimiser={"layers.0.weight.step": np.array(5, np.float32)},
        weights_seq_no=iterations,
        earlier_weights=tuple({"layers.0.weight": np.full(2, k, np.float32)} for k in range(11)),
        value=ValueState({"layers.0.weight": np.ones((1, 2), np.float32)}, {}, Moments(3, 0.1, 1 / 3)),
    )
    returns = deque([mean, mean + 0.1] if iterations else [], maxlen=100)
    progress = Progress(iterations, 123, 20, 0.25, returns)
    return Checkpoint(learner, progress, {"lr": 0.02, "env_kwargs": {"a": None}}, {"torch": "2.13"}, 2.5, 1.5)


def rewrite_state(path: Path, **changes: object) -> None:
    """A checkpoint's state.json with changes, and its checksum right."""
    state = json.loads((path / "state.json").read_text())
    del state["sha256_of_the_above"]
    (path / "state.json").write_bytes(encode_state({**state, **changes}))


def saved(run: Path, numbers: list[int], keep: int = 100, means: dict[int, float] | None = None) -> None:
    for number in numbers:
        save_checkpoint(run, checkpoint(number, (means or {}).get(number, 20.0)), keep)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    before = checkpoint()
    save_checkpoint(tmp_path, before, 1)
    after = load_checkpoint(tmp_path, 5)
    assert (after.progress, after.options) == (before.progress, before.options)
    assert (after.platform, after.wall_s, after.train_s) == ({"torch": "2.13"}, 2.5, 1.5)
    assert after.progress.recent_returns.maxlen == 100
    mine, theirs = before.learner, after.learner
    assert mine.value is not None
    assert theirs.value is not None
    assert (theirs.weights_seq_no, theirs.value.moments) == (mine.weights_seq_no, mine.value.moments)
    for ours, found in (
        (mine.weights, theirs.weights),
        (mine.optimiser, theirs.optimiser),
        (mine.value.weights, theirs.value.weights),
        (mine.value.optimiser, theirs.value.optimiser),
        *zip(mine.earlier_weights, theirs.earlier_weights, strict=True),
    ):
        assert {name: (a.tobytes(), a.shape) for name, a in ours.items()} == {
            name: (a.tobytes(), a.shape) for name, a in found.items()
        }


def test_without_a_value_function_there_is_none_to_load(tmp_path: Path) -> None:
    with_one = checkpoint()
    save_checkpoint(tmp_path, replace(with_one, learner=replace(with_one.learner, value=None)), 1)
    assert load_checkpoint(tmp_path, 5).learner.value is None


def test_the_first_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, list(range(8)), keep=2, means={3: 30.0})
    assert checkpoint_numbers(tmp_path) == [0, 3, 6, 7]
    assert best_checkpoint(tmp_path) == 3
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "000000",
        "000003",
        "000006",
        "000007",
    }
    assert {path.name for path in (tmp_path / "checkpoints" / "000007").iterdir()} == set(FILES)


def test_among_equals_the_latest_is_best(tmp_path: Path) -> None:
    saved(tmp_path, [0, 1, 2])
    assert best_checkpoint(tmp_path) == 2


def test_a_damaged_one_is_passed_over_and_named(tmp_path: Path) -> None:
    saved(tmp_path, [0, 4, 8])
    (tmp_path / "checkpoints/000008/weights.safetensors").write_bytes(b"")
    damaged: list[CheckpointError] = []
    found = newest_checkpoint(tmp_path, on_damaged=damaged.append)
    assert found is not None
    assert found.progress.iterations == 4
    assert "000008" in damaged[0].message
    assert "weights.safetensors" in damaged[0].message
    found = newest_checkpoint(tmp_path, at_most=3)
    assert found is not None
    assert found.progress.iterations == 0


def test_none_at_all(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert best_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path, 3)


def test_a_newer_format_is_said_and_not_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, [0, 4])
    rewrite_state(tmp_path / "checkpoints/000004", format=99)
    with pytest.raises(CheckpointError, match="newer version"):
        newest_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("good")
    saved(run, [5])
    return run


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_at_any_byte_or_with_any_byte_changed_it_is_never_loaded(good: Path, data: st.DataObject) -> None:
    path = good / "checkpoints/000005" / data.draw(st.sampled_from(FILES))
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = content[:position]
    else:
        other = data.draw(st.integers(1, 255))
        damaged = content[:position] + bytes([content[position] ^ other]) + content[position + 1 :]
    try:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(good, 5)
    finally:
        path.write_bytes(content)
    assert load_checkpoint(good, 5).progress.iterations == 5


@pytest.mark.parametrize("missing", FILES)
def test_a_file_that_is_missing(good: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(good, tmp_path / "run")
    (tmp_path / "run/checkpoints/000005" / missing).unlink()
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "run", 5)


def test_what_a_write_that_died_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, [0])
    half = tmp_path / "checkpoints/.000005.new"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert checkpoint_numbers(tmp_path) == [0]
    saved(tmp_path, [5])
    assert not half.exists()
    assert load_checkpoint(tmp_path, 5).progress.iterations == 5


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, [0])
    (tmp_path / "checkpoints/.DS_Store").touch()
    saved(tmp_path, [5])
    assert (tmp_path / "checkpoints/.DS_Store").exists()
