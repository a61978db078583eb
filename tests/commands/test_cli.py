import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distpg.commands.benchmark import BenchmarkOptions
from distpg.commands.cli import main
from distpg.commands.evaluate import EvaluateOptions
from distpg.commands.parser import parse
from distpg.commands.replay import ReplayOptions
from distpg.commands.train import TrainOptions
from distpg.config.option_types import OnResume, options_of
from distpg.config.train_config import TrainConfig, config_to_json

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _keep_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def train_options(*arguments: str) -> TrainConfig:
    return parse(TrainOptions(), "distpg train", arguments).training


def test_options_are_the_fields_of_train_config() -> None:
    config = train_options(
        *("--seed", "3", "--hidden-sizes", "64", "32", "--num-env-runners", "0", "--stop-return", "none"),
        *("--env-kwargs", '{"a": {"b": [1, null]}}', "--max-env-steps", "5000", "--lr", "1e-3"),
    )
    assert config == TrainConfig(
        seed=3,
        hidden_sizes=(64, 32),
        num_env_runners=0,
        stop_return=None,
        env_kwargs={"a": {"b": [1, None]}},
        max_env_steps=5000,
        lr=1e-3,
    )


def test_a_repeated_option_counts_last() -> None:
    assert train_options("--seed", "1", "--seed", "2").seed == 2


def test_options_override_the_file(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainConfig] = []
    monkeypatch.setattr("distpg.training.trainer.train", lambda config, listeners: seen.append(config))
    (in_tmp_path / "c.yaml").write_text("seed: 1\ngamma: 0.5\n")
    main(["train", "--gamma", "0.25", "--config", "c.yaml", "--quiet"])
    assert (seen[0].seed, seen[0].gamma, seen[0].lr) == (1, 0.25, TrainConfig().lr)


def test_usage_is_short_and_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    usage = capsys.readouterr().err
    assert len(usage.splitlines()) <= 12
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == usage


def test_help_and_wrong_options_load_no_framework() -> None:
    script = """
import contextlib, sys
from distpg.commands.cli import _COMMANDS, main
for command in _COMMANDS:
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    assert main([command, "--no-such-option"]) == 2
    print(command, file=sys.stderr)
found = {"ray", "torch", "numba", "matplotlib", "gymnasium"} & set(sys.modules)
assert not found, found
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "doctor" in result.stderr.splitlines()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"distpg \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in TrainConfig.__dataclass_fields__:
        option = name.replace("_", "-")
        assert f"--{option}" in text or f"--no-{option}" in text
    assert text.count("(default:") >= len(TrainConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["trian"], "there is no command 'trian'", "Did you mean distpg train?"),
        (["train", "--lrr", "3"], "there is no option --lrr", "Did you mean --lr?"),
        (["train", "--learning-rate", "3"], "there is no option --learning-rate", "Did you mean --lr?"),
        (["train", "--lerning-rate=3"], "there is no option --lerning-rate", "Did you mean --lr?"),
        (["train", "--num-workers", "3"], "--num-workers", "Did you mean --num-env-runners?"),
        (["train", "--output_dir", "3"], "--output_dir", "Did you mean --run-dir?"),
        (["plot", "--output-dir", "3", "."], "--output-dir", "Did you mean --output?"),
        (["train", "--lr", "x"], "--lr", "a finite number"),
        (["train", "--lr"], "--lr needs a value", "a finite number"),
        (["train", "--lr", "nan"], "--lr cannot be nan", "a finite number"),
        (
            ["train", "--baseline", "q"],
            "--baseline cannot be 'q'",
            "none or episode or batch or timestep or value",
        ),
        (["train", "--seed", "-1"], "--seed must be from 0", "--help"),
        (["train", "--num-env-runners", "1.5"], "--num-env-runners", "a whole number or auto"),
        (["train", "--env-kwargs", "{"], "--env-kwargs", "a JSON object"),
        (["train", "--env-kwargs", "[1]"], "--env-kwargs", "a JSON object"),
        (["train", "extra"], "unexpected argument 'extra'", "--name value"),
        (["train", "--config", "missing.yaml"], "cannot read missing.yaml", "--config"),
        (["train", "--config"], "--config needs a value", ""),
        (["train", "--env-id", "CartPol-v1"], "there is no environment 'CartPol-v1'", "CartPole-v1"),
        (["train", "--env-id", "no_module:X-v0"], "No module named 'no_module'", ""),
        (
            [
                *("train", "--action-bounds", "tanh", "--env-id", "tests.space_environments:Guess"),
                *("--env-kwargs", '{"acts": "Box(-np.inf, 1, (2,))"}'),
            ],
            "have none",
            "Use clip",
        ),
        (["train", "--env-kwargs", '{"x": 1}'], "CartPole-v1 cannot be made: TypeError", "--env-kwargs"),
        (["train", "--run-dir", "."], ". has something in it already", "never overwritten"),
        (["train", "--run-dir", "file"], "cannot write to file", "--run-dir"),
        (["train", "--preset", "atari"], "--preset cannot be 'atari'", "article or cartpole"),
        (["train", "--lr-schedule", "linear"], "go together", "both"),
        (["resume"], "needs a run directory", "Example"),
        (["resume", "missing"], "missing is not a run directory", "path"),
        (["resume", "."], ". is not a run directory", "path"),
        (["resume", ".", "--lrr", "3"], ". is not a run directory", "path"),
        (["replay", "missing", "--episode", "3"], "missing is not a run directory", "path"),
        (["replay", "missing"], "needs --episode", "Example"),
        (["replay", "missing", "--episode", "x"], "--episode", "whole number"),
        (["plot"], "needs a run directory", "Example"),
        (["plot", "."], "is not a run directory", "path"),
        (["plot", "missing"], "missing is not a directory", "path"),
    ],
)
def test_wrong_input_is_one_line_what_and_one_what_to_do(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str, hint: str
) -> None:
    (in_tmp_path / "file").touch()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")
    assert error in first
    assert hint in second
    assert captured.out == ""
    assert [path.name for path in Path().iterdir()] == ["file"], "nothing is started or made for wrong input"


@pytest.fixture
def home(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(in_tmp_path / "home"))
    (in_tmp_path / "home").mkdir()
    return in_tmp_path / "home"


def test_a_home_is_found_without_a_shell(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "c.yaml").write_text("max_iterations: 1\nnum_env_runners: 0\nrun_dir: ~/first\n")
    assert main(["train", "--config", "~/c.yaml", "--quiet"]) == 0
    assert main(["train", "--config=~/c.yaml", "--run-dir=~/runs/second", "--quiet"]) == 0
    assert main(["resume", "~/first", "--max-iterations", "2", "--quiet"]) == 0
    assert len((home / "first/metrics.jsonl").read_text().splitlines()) == 2
    assert main(["evaluate", "~/runs/second", "--num-episodes", "1", "--quiet"]) == 0
    assert main(["replay", "~/first", "--episode", "0", "--quiet"]) == 0
    assert main(["plot", "~/first", "~/runs/second", "--output", "~", "--quiet"]) == 0
    assert (home / "learning_curve.png").is_file()
    assert capsys.readouterr() == ("", "")
    assert sorted(path.name for path in home.parent.iterdir()) == ["home"]


def test_every_path_may_begin_with_a_home(home: Path) -> None:
    assert parse(EvaluateOptions(), "distpg evaluate", ["run", "--video", "~/a.gif"]).video == f"{home}/a.gif"
    assert parse(ReplayOptions(), "distpg replay", ["run", "--video", "~/a.gif"]).video == f"{home}/a.gif"
    assert parse(BenchmarkOptions(), "distpg benchmark", ["--plot", "~/a.png"]).plot == f"{home}/a.png"
    assert TrainConfig(run_dir="~/run").run_dir == f"{home}/run"
    for elsewhere in ("~nobody-of-this-name/run", "run/~", "./~/run"):
        assert TrainConfig(run_dir=elsewhere).run_dir == elsewhere


RESUMABLE = {
    name
    for name, option in options_of(TrainConfig).items()
    if option.on_resume is not OnResume.FIXED and name != "run_dir"
}


def test_help_of_resume_lists_what_it_accepts_with_the_defaults_of_the_run(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_to_json(TrainConfig(max_task_retries=17, checkpoint_every=0, compile_cache=False))
    Path("5").mkdir()
    Path("5/config.json").write_text(config)
    for run in ([], ["5"]):
        with pytest.raises(SystemExit):
            main(["resume", "--help", *run])
        text = capsys.readouterr().out
        listed = set(re.findall(r"^\W{1,3}--(\w[\w-]+)", text, flags=re.MULTILINE)) - {"quiet", "debug"}
        names = {name.removeprefix("no-").replace("-", "_") for name in listed}
        assert names == RESUMABLE
        assert (" ".join(re.sub(r"[│|]", " ", text).split()).count("(as the run has it)") > 10) == (run == [])
        assert ("(default: 17)" in text) == (run != [])


def test_resume_takes_the_value_of_an_option_for_no_run(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []

    def resume(run: str, listeners: object, **options: Any) -> None:
        seen.append((run, options["max_task_retries"], options["learner_threads"]))

    monkeypatch.setattr("distpg.training.resume.resume", resume)
    for name, threads in (("5", 7), ("RUN", 3)):
        Path(name).mkdir()
        Path(name, "config.json").write_text(config_to_json(TrainConfig(learner_threads=threads)))
    main(["resume", "--max-task-retries", "5", "RUN", "--quiet"])
    main(["resume", "--quiet", "RUN", "--max_task_retries=5"])
    main(["resume", "--allow-mixed", "5", "--quiet", "--max-task-retries", "5"])
    assert seen == [("RUN", 5, 3), ("RUN", 5, 3), ("5", 5, 7)]
