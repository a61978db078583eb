"""What environments do to the process that trains: it is where the user said, and ends as it should."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.core.events import Advice, Event
from distpg.core.seeding import environment_seed
from distpg.errors import EpisodeError, RunDirectoryError
from distpg.runs.checkpoints import checkpoint_numbers
from distpg.runs.directory import exclusive
from distpg.system.interrupts import Interrupted
from distpg.training.prepare import prepare
from distpg.training.trainer import Listeners

ODD = "tests.odd_environments:"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "elsewhere"


def test_everything_is_where_the_user_said_after_a_change_of_directory(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path.cwd()
    kwargs = json.dumps({"to": str(elsewhere)})
    options = ["--env-id", f"{ODD}ChangesDirectory", "--env-kwargs", kwargs, "--num-env-runners", "0"]
    options += ["--env-reuse", "always"]
    commands = [
        ["train", *options, "--max-iterations", "1", "--run-dir", "run"],
        ["train", *options, "--max-iterations", "1"],
        ["resume", "run", "--max-iterations", "2"],
        ["resume", "run"],
        ["evaluate", "run", "--num-episodes", "1"],
        ["replay", "run", "--episode", "4"],
        ["plot", "run", "--output", "."],
    ]
    said = []
    for command in commands:
        os.chdir(here)
        assert main(command) == 0, capsys.readouterr().err
        said.append(capsys.readouterr().out.splitlines())
    assert said[0][-1] == "Figures, metrics and result.json are in run"
    assert "run directory: run" in said[0]
    assert said[3][0].endswith("to go on distpg resume run --max-iterations 4")
    (default,) = (here / "runs").iterdir()
    assert said[1][-1].endswith(f"are in runs/{default.name}")
    assert json.loads((here / "run/result.json").read_text())["run_dir"] == "run"
    assert {path.name for path in here.iterdir()} == {"run", "runs", "learning_curve.png", "variance.png"}
    assert list(elsewhere.iterdir()) == []
    os.chdir(here)
    assert main(["evaluate", "run", "--checkpoint", "9"]) == 2
    assert "there is no checkpoint run/checkpoints/000009" in capsys.readouterr().err
    os.chdir(here)
    assert main(["replay", "run", "--episode", "0", "--video", "nodir/a.gif"]) == 2
    assert "error: nodir is not a directory" in capsys.readouterr().err
    os.chdir(here)
    distpg.load_policy("run")
    os.chdir(here)
    recorded = TrainConfig(
        env_id=f"{ODD}ChangesDirectory",
        env_kwargs={"to": str(elsewhere)},
        record_dispatch="flight",
        env_reuse="always",
    )
    assert prepare(recorded).config.record_dispatch == f"{here}/flight"


def config(run: Path, env: str, **options: object) -> TrainConfig:
    defaults = {"env_id": ODD + env, "env_reuse": "always", "num_env_runners": 0, "max_iterations": 2}
    return TrainConfig(**{**defaults, **options}, run_dir=str(run))


def test_what_an_environment_raises_when_it_is_closed_costs_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    result = distpg.train(config(tmp_path / "run", "FailsToClose"), Listeners(on_event=events.append))
    assert result.iterations == 2
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"result.json", "learning_curve.png"}
    # In the first look, and at the end.
    whys = [event.why for event in events if isinstance(event, Advice)]
    assert whys == ["FailsToClose could not be closed: ValueError: the licence server is gone"] * 2


def test_a_failure_is_not_hidden_by_one_of_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(self: object) -> None:
        raise ValueError("the licence server is gone")

    monkeypatch.setattr("distpg.sampling.group.InProcessEnvRunnerGroup.close", close)
    with pytest.raises(EpisodeError, match="the simulator broke"):
        distpg.train(config(tmp_path / "run", "Fails"))


def test_an_interrupt_that_an_environment_swallows_is_noticed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    kwargs = {"seed": environment_seed(0, 9)}  # in the third iteration
    with pytest.raises(Interrupted) as caught:
        distpg.train(config(run, "Interrupts", env_kwargs=kwargs, max_iterations=50))
    assert caught.value.args == (str(run),)
    assert checkpoint_numbers(run) == [0, 2]


HOLDS = """
import os, sys, time
from pathlib import Path
from distpg.runs.directory import exclusive
from distpg.system.temporary import temporary_directory
with exclusive(Path(sys.argv[1])), temporary_directory("x-", Path(sys.argv[1])):
    if os.fork() == 0:
        print("forked", flush=True)
        sys.stdin.read()
        os._exit(0)
    time.sleep(60)
"""


def test_a_forked_child_does_not_hold_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        with pytest.raises(RunDirectoryError, match="in use"), exclusive(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with exclusive(tmp_path):
            pass
        from distpg.system.temporary import temporary_directory

        with temporary_directory("x-", tmp_path) as path:
            assert [left.name for left in tmp_path.iterdir()] == [path.name]
