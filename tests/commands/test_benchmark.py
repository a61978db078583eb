import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from distpg.commands.benchmark_report import draw, print_report
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.training.throughput import (
    Measurement,
    Repetition,
    TimeSplit,
    as_json,
    benchmark,
    efficiency,
    split_time,
)

PARTS = ("sample", "gradient", "wait", "transport", "broadcast")
KEYS = [
    *("env_id", "sampler", "num_env_runners", "gradients", "episodes_per_iteration", "episodes_per_task"),
    *("train", "repetitions", "env_steps_per_s", "env_steps_per_s_min", "env_steps_per_s_max"),
    *("episodes_per_s", "episodes_per_s_min", "episodes_per_s_max", "episode_len_mean"),
    *("driver_cpu_s_per_task", "time_total_s", *(f"time_{part}_s" for part in PARTS)),
]
QUICK = ["--episodes-per-iteration", "4", "--repetitions", "3", "--iterations", "2"]
LOGNORMAL = [
    "--env-id",
    "distpg/Sleep-v0",
    "--env-kwargs",
    '{"step_ms": 0, "length": "lognormal", "mean": 5}',
]


def repetition(steps: int, seconds: float) -> Repetition:
    return Repetition(2, 10, steps, 10, 0.1, TimeSplit(seconds, 0.0, 0.0, 0.0, 0.0))


def measurement(number: int, *repetitions: Repetition, **options: int) -> Measurement:
    config = TrainConfig(num_env_runners=number, sampler="gymnasium", **{"episodes_per_task": 1, **options})
    return Measurement(config, False, repetitions)


def test_the_parts_of_an_iteration() -> None:
    # 10 s, of which 2 are the learner's and 1 makes weights ready. Runners play 4, 3 and 2 s: 3 on average,
    # 1 less than the slowest, and 3 s are left.
    assert split_time(10, 2, 1, [4, 3, 2]) == TimeSplit(3, 2, 1, 3, 1)
    assert split_time(10, 0, 0, [10]) == TimeSplit(10, 0, 0, 0, 0)
    # Runners that play while the learner learns: what overlaps is counted once, and no part is negative.
    assert split_time(10, 6, 1, [9, 5]) == TimeSplit(3, 6, 0, 0, 1)
    assert split_time(10, 6, 1, [9, 2, 1]) == TimeSplit(3, 6, 0, 0, 1)
    assert split_time(10, 0, 1, [0, 0]) == TimeSplit(0, 0, 0, 9, 1)
    for total, gradient, sampling in ((10.1, 0.3, [7.7, 1.1]), (0.7, 0.1, [0.9, 0.2])):
        split = split_time(total, gradient, 0.1, sampling)
        assert split.total_s == pytest.approx(total)
        assert min(split) >= 0


def test_all_figures_are_those_of_the_median_repetition() -> None:
    three = measurement(1, repetition(100, 1), repetition(100, 4), repetition(100, 2))
    assert three.median.steps_per_s == 50
    assert as_json(three)["episodes_per_s"] == 5
    assert (as_json(three)["episodes_per_s_min"], as_json(three)["episodes_per_s_max"]) == (2.5, 10)
    assert as_json(three)["time_total_s"] == 1, "of an iteration, of which there are two"
    assert measurement(1, repetition(100, 1), repetition(100, 4)).median.steps_per_s == 25


def test_efficiency_compares_what_played_the_same_episodes() -> None:
    one = measurement(1, repetition(100, 10), repetition(900, 30), repetition(100, 10))
    four = measurement(4, repetition(100, 5), repetition(900, 10), repetition(100, 4))
    # 2, 3 and 2.5 times as fast.
    assert efficiency(four, [one, four]) == pytest.approx(2.5 / 4)
    assert efficiency(one, [one, four]) == 1
    assert efficiency(four, [four]) is None
    assert efficiency(measurement(0, repetition(100, 10)), [one]) is None
    assert efficiency(measurement(4, repetition(1, 1), policy_lag=1), [one]) is None
    assert efficiency(measurement(4, repetition(1, 1), episodes_per_iteration=8), [one]) is None


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("train", [False, True])
def test_parts_add_up_and_rates_agree(capsys: pytest.CaptureFixture[str], lag: int, train: bool) -> None:
    options = [*LOGNORMAL, *QUICK, "--num-env-runners", "0", "--policy-lag", str(lag), "--json"]
    assert main(["benchmark", *options, *(["--train"] if train else [])]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert set(KEYS) <= set(row)
    parts = [row[f"time_{part}_s"] for part in PARTS]
    assert min(parts) >= 0
    assert math.fsum(parts) == pytest.approx(row["time_total_s"], rel=1e-12)
    assert row["episodes_per_s"] * row["episode_len_mean"] == pytest.approx(row["env_steps_per_s"])
    assert row["episodes_per_s"] == pytest.approx(4 / row["time_total_s"])
    for key in ("env_steps_per_s", "episodes_per_s"):
        assert row[f"{key}_min"] <= row[key] <= row[f"{key}_max"]
    assert (row["train"], row["policy_lag"], row["gradients"]) == (train, lag, "learner")
    assert (row["time_gradient_s"] > 0) == train


def test_every_configuration_plays_the_same_episodes_in_the_same_repetition() -> None:
    kwargs = {"step_ms": 0, "length": "lognormal"}
    configs = [
        TrainConfig(env_id="distpg/Sleep-v0", env_kwargs=kwargs, num_env_runners=0, policy_lag=lag)
        for lag in (0, 1)
    ]
    steps = [
        [repetition.steps for repetition in one.repetitions]
        for one in benchmark(configs, repetitions=3, iterations=2)
    ]
    assert steps[0] == steps[1]
    assert len(set(steps[0])) > 1, "and others in another"


def test_json_is_alone_on_standard_output_whatever_prints() -> None:
    env = ["--env-id", "tests.odd_environments:TalksNatively", *QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "distpg", "benchmark", *env, "--num-env-runners", "0", "--json"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["env_id"] == env[1]
    for who in ("Python", "a descriptor", "C"):
        assert f"from {who}\n" in done.stderr


@pytest.mark.usefixtures("ray")
def test_on_ray(capsys: pytest.CaptureFixture[str], in_tmp_path: Path) -> None:
    options = ["--num-env-runners", "0", "1", "2", "--cpus-per-env-runner", "0.05", "--plot", "speed.png"]
    assert main(["benchmark", *LOGNORMAL, *QUICK, *options, "--json"]) == 0
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [row["num_env_runners"] for row in rows] == [0, 1, 2]
    assert all(row["time_broadcast_s"] > 0 for row in rows[1:])
    assert all(row["driver_cpu_s_per_task"] > 0 for row in rows)
    assert "3 of 3: 2 runners" in captured.err
    assert "Python" in captured.err, "the line about the hardware"
    assert (in_tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert list(in_tmp_path.iterdir()) == [in_tmp_path / "speed.png"]


def test_the_report_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        measurement(
            n, repetition(12_345_678, 1.0 / max(n, 1)), repetition(12_345_678, 2e5), repetition(10**7, 3e3)
        )
        for n in (0, 1, 1024)
    ]
    print_report(rows)
    text = capsys.readouterr().out
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "…" not in text, "nothing is cut"
    for word in (
        *("efficiency", "mean length", "3,333", "100 %"),
        *("sampling", "gradient", "waiting", "transport", "broadcast", "CPU/task"),
    ):
        assert word in text


def test_the_figure() -> None:
    rows = [measurement(n, repetition(100, 1.0), repetition(100, 1.0 / (n or 1))) for n in (0, 1, 2)]
    axes = draw(rows).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Runners", "Episodes a second")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"so many times one runner", "in this process, 0 runners"} < set(labels)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--plot", "x.jpeg2"], "--plot cannot be x.jpeg2", ".png or .pdf or .svg"),
        (["--plot", "nowhere/x.png"], "nowhere is not a directory", "--plot"),
        (["--repetitions", "0"], "--repetitions must be at least 1, not 0", "--help"),
        (["--iterations", "-1"], "--iterations must be at least 1, not -1", "--help"),
        (["--num-env-runners", "-1"], "--num-env-runners must be from 0", "--help"),
        (["--num-env-runners", "x"], "--num-env-runners", "a list of whole numbers"),
        (["--num-env-runners"], "--num-env-runners needs a value", "list"),
        (["--sampler", "fast"], "--sampler", "a list of auto or gymnasium or compiled"),
        (["--num-env-runners", "0", "--address", "auto"], "--address has no meaning", "--address"),
        (["--env-id", "distpg/Sleep-v1"], "there is no environment", "distpg/Sleep-v0"),
        (["--env-kwargs", '{"x": 1}'], "cannot be made", "--env-kwargs"),
        (["--gradients", "nowhere"], "--gradients", "a list of learner or runners"),
    ],
)
def test_wrong_input_is_found_before_anything_starts(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str, hint: str
) -> None:
    assert main(["benchmark", *arguments]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert error in first
    assert hint in second
    assert captured.out == ""
    assert list(in_tmp_path.iterdir()) == []


def test_an_interrupt_is_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "distpg", "benchmark", "--num-env-runners", "0", "--iterations", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("1 of 1: in this process")
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "error: interrupted" in err
