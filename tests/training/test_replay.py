import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError, EpisodeError, ReplayError
from distpg.training.replay import replay, show


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight iterations of ten episodes in tasks of three, with checkpoints after none, four and eight."""
    run = tmp_path_factory.mktemp("replay") / "run"
    distpg.train(
        TrainConfig(
            num_env_runners=0,
            seed=5,
            baseline="value",
            episodes_per_iteration=10,
            episodes_per_task=3,
            max_iterations=8,
            checkpoint_every=4,
            run_dir=str(run),
        )
    )
    return run


def recorded(run: Path) -> list[dict[str, str]]:
    with (run / "episodes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("episode", [0, 9, 11, 39, 40, 57, 79])
def test_return_length_and_actions_as_recorded(run: Path, episode: int) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    lines: list[str] = []
    played = replay(run, episode, on_progress=lines.append)
    row = recorded(run)[episode]
    assert played.actions_digest == row["actions_digest"]
    assert played.total == float(row["episode_return"])
    assert len(played.actions) == len(played.rewards) == len(played.observations) == int(row["episode_len"])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before, "nothing is written"
    iteration = episode // 10
    start = iteration - iteration % 4
    assert lines == [f"From the weights after {start} iterations, training {iteration % 4} more in memory."]


@pytest.mark.parametrize("episode", [80, 10**9, -1])
def test_an_episode_that_was_not_played(run: Path, episode: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=f"has not played episode {episode}"):
        replay(run, episode)
    assert main(["replay", str(run), "--episode", str(episode)]) == 2
    assert f"has not played episode {episode}" in capsys.readouterr().err


def test_shown_step_by_step(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run), "--episode", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    length = int(recorded(run)[3]["episode_len"])
    assert len(lines) == length + 3
    assert lines[1].split() == ["t", "action", "reward", "observation"]
    assert lines[-1].startswith(f"episode 3: return {length}, {length} steps, terminated, actions ")


def test_long_observations_are_cut() -> None:
    from distpg.training.replay import Episode

    episode = Episode(7, np.zeros((1, 9), np.float32), np.zeros(1, np.uint8), np.ones(1), False)
    assert show(episode).splitlines()[1].endswith("0.0000 …")
    assert "cut by the time limit" in show(episode)


def test_a_record_that_differs_is_named(run: Path, in_tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, in_tmp_path / "run")
    path = in_tmp_path / "run/episodes.csv"
    lines = path.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:-1], "0" * 16])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ReplayError, match=r"actions_digest is [0-9a-f]{16}, episodes\.csv has 0000"):
        replay(in_tmp_path / "run", 0)
    assert replay(in_tmp_path / "run", 1).number == 1


def test_an_environment_that_cannot_be_repeated_is_found(in_tmp_path: Path) -> None:
    env = "tests.odd_environments:Unrepeatable"
    config = TrainConfig(env_id=env, num_env_runners=0, max_iterations=2, run_dir="run")
    distpg.train(config)
    with pytest.raises(ReplayError, match="episode_return is"):
        replay("run", 1)


def test_a_run_that_failed(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The failing episode can be replayed, and fails again; those before it are as recorded."""
    env = "tests.odd_environments:Fails"
    config = TrainConfig(
        env_id=env, env_kwargs={"share": 0.1}, seed=3, num_env_runners=0, baseline="none", run_dir="run"
    )
    with pytest.raises(EpisodeError) as caught:
        distpg.train(config)
    failed = caught.value.episode
    events = [json.loads(line) for line in Path("run/events.jsonl").read_text().splitlines()]
    assert [(event["event"], event.get("episode")) for event in events] == [("episode_failed", failed)]
    assert replay("run", 0).number == 0
    with pytest.raises(EpisodeError, match=f"failed in episode {failed}, step 2: ValueError"):
        replay("run", failed)
    with pytest.raises(ConfigError, match="has not played"):
        replay("run", failed + 1)
    assert main(["replay", "run", "--episode", str(failed)]) == 1


def test_video(in_tmp_path: Path) -> None:
    env = "tests.odd_environments:Drawn"
    distpg.train(
        TrainConfig(env_id=env, num_env_runners=0, episodes_per_task=4, max_iterations=1, run_dir="run")
    )
    for name in ("a.gif", "b.webp"):
        assert main(["replay", "run", "--episode", "2", "--video", name]) == 0
        with Image.open(name) as video:
            length = int(recorded(Path("run"))[2]["episode_len"])
            assert video.n_frames == length + 1, "one before each step and one after the last"
    assert main(["replay", "run", "--episode", "2", "--video", "d.avi"]) == 2
    assert main(["replay", "run", "--episode", "2", "--video", "missing/d.gif"]) == 2


def test_an_environment_that_draws_nothing(run: Path, in_tmp_path: Path) -> None:
    env = "tests.odd_environments:ShortOrLong"
    distpg.train(TrainConfig(env_id=env, num_env_runners=0, max_iterations=1, run_dir="run"))
    assert main(["replay", "run", "--episode", "0", "--video", "a.gif"]) in (1, 2)
    assert not Path("a.gif").exists()
