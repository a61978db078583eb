"""A run that was stopped at any moment and resumed is the run that was never stopped."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import distpg
from distpg.config.train_config import TrainConfig
from distpg.core.events import Event, LogsIncomplete, RunFinishedAlready, RunResumed
from distpg.errors import ConfigError, RunDirectoryError
from distpg.runs.checkpoints import newest_checkpoint
from distpg.training.replay import replay
from distpg.training.trainer import Listeners
from tests.runs.test_checkpoints import rewrite_state

TIMES = {
    *("env_steps_per_s", "episodes_per_s", "time_sample_s", "time_learn_s", "time_total_s"),
    *("num_healthy_env_runners", "num_env_runner_restarts"),
}


class Stopped(KeyboardInterrupt):
    """A signal that comes between two bytecodes of a listener."""


def config(run: Path, **options: object) -> TrainConfig:
    defaults: dict = {
        "num_env_runners": 0,
        "seed": 11,
        "max_iterations": 12,
        "checkpoint_every": 5,
        "hidden_sizes": (16,),
    }
    return TrainConfig(**{**defaults, **options}, run_dir=str(run))


def content(run: Path) -> tuple[list[dict], str]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (
        [{k: v for k, v in line.items() if k not in TIMES} for line in lines],
        (run / "episodes.csv").read_text(),
    )


def stop_after(iterations: int) -> Listeners:
    def on_iteration(metrics: dict) -> None:
        if metrics["training_iteration"] == iterations:
            raise Stopped

    return Listeners(on_iteration=on_iteration)


METHODS = {
    "none, sgd": {"baseline": "none", "optimiser": "sgd"},
    "episode, adam": {"baseline": "episode"},
    "batch, total": {"baseline": "batch", "returns": "total"},
    "timestep, linear schedule": {"lr_schedule": "linear", "lr_decay_env_steps": 2000},
    "value": {"baseline": "value", "max_grad_norm": 0.5, "entropy_coef": 0.01},
    "polynomial": {"policy": "polynomial", "degree": 3, "discount_weighting": True},
}


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_and_resumed_at_several_places(in_tmp_path: Path, method: str) -> None:
    whole, parts = in_tmp_path / "whole", in_tmp_path / "parts"
    expected = distpg.train(config(whole, **METHODS[method]))
    with pytest.raises(Stopped):
        distpg.train(config(parts, **METHODS[method]), stop_after(1))
    for stop in (2, 5, 9):
        with pytest.raises(Stopped):
            distpg.resume(parts, stop_after(stop))
    result = distpg.resume(parts)
    assert result.weights_digest == expected.weights_digest
    assert content(parts) == content(whole)
    last = "checkpoints/000012/{}.safetensors"
    for name in ("weights", "optimizer"):
        assert (parts / last.format(name)).read_bytes() == (whole / last.format(name)).read_bytes()


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "distpg", "train", "--run-dir", str(run), *options],
        cwd=run.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_signals(in_tmp_path: Path, number: int) -> None:
    options = ("--num-env-runners", "0", "--seed", "11", "--max-iterations", "300", "--stop-return", "none")
    whole, parts = in_tmp_path / "whole", in_tmp_path / "parts"
    process = start(parts, *options, "--checkpoint-every", "3")
    while not (parts / "checkpoints/000003").exists():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert (process.returncode, errors.splitlines()[0]) == (130, "error: interrupted")
        last = json.loads((parts / "metrics.jsonl").read_text().splitlines()[-1])["training_iteration"]
        assert (parts / f"checkpoints/{last:06}").exists(), "the last completed update is on disk"
    stopped_at = len((parts / "metrics.jsonl").read_text().splitlines())
    limit = stopped_at + 3
    # config.json's own limit would take long; both runs stop three iterations after the signal.
    saved = json.loads((parts / "config.json").read_text())
    (parts / "config.json").write_text(json.dumps({**saved, "max_iterations": limit}))
    distpg.resume(parts)
    distpg.train(TrainConfig(num_env_runners=0, seed=11, max_iterations=limit, run_dir=str(whole)))
    assert content(parts) == content(whole)


def test_killed_before_the_first_checkpoint(in_tmp_path: Path) -> None:
    whole, parts = in_tmp_path / "whole", in_tmp_path / "parts"
    expected = distpg.train(config(whole))
    parts.mkdir()
    shutil.copy(whole / "config.json", parts)
    assert distpg.resume(parts).weights_digest == expected.weights_digest
    assert content(parts) == content(whole)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    distpg.train(config(run))
    return run


def test_killed_after_the_last_iteration(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    for name in ("result.json", "learning_curve.png"):
        (run / name).unlink()
    result = distpg.resume(run)
    assert result.iterations == 12
    assert (run / "learning_curve.png").exists()
    assert content(run) == content(finished)


def lines_of(run: Path) -> tuple[list[dict], list[str]]:
    metrics, episodes = content(run)
    return metrics, episodes.splitlines()


# Lines to which something is done, from 0; the header of episodes.csv is its line 0.
@pytest.mark.parametrize(
    ("log", "lines", "damage", "missing"),
    [
        ("metrics.jsonl", [2], b"", "3"),
        ("metrics.jsonl", [2, 8, 9, 10, 11], b'{"training_iteration": 3\n', "3, 9 to 12"),
        ("episodes.csv", [0, 48], b"", "12"),
        ("episodes.csv", [3, 6], b"2,1,61,24.0,24,true,4ac1\n", "1 to 2"),
    ],
)
def test_a_damaged_log_costs_no_checkpoint_and_is_mended(
    finished: Path, in_tmp_path: Path, log: str, lines: list[int], damage: bytes, missing: str | None
) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "checkpoints/000010")
    content_before = (run / log).read_bytes().splitlines(keepends=True)
    damaged = [damage if n in lines else line for n, line in enumerate(content_before)]
    (run / log).write_bytes(b"".join(damaged))
    (run / "events.jsonl").write_bytes((run / "events.jsonl").read_bytes() + b'{"torn')
    events: list[Event] = []
    distpg.resume(run, Listeners(on_event=events.append), max_iterations=13)
    said = [] if missing is None else [LogsIncomplete(log, missing)]
    assert events == [RunResumed(12), *said]
    assert (run / "checkpoints/000005").exists()
    kept = (run / log).read_bytes().splitlines(keepends=True)
    assert kept[: -1 if log == "metrics.jsonl" else -4] == [
        line for n, line in enumerate(content_before) if n not in lines or line.startswith(b"episode_id")
    ]
    for line in (run / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_damaged_record_of_tensorboard_is_left_out(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    (path,) = run.glob("events.out.tfevents.*")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    events: list[Event] = []
    distpg.resume(run, Listeners(on_event=events.append), max_iterations=13)
    (said,) = [event for event in events if isinstance(event, LogsIncomplete)]
    assert (said.file, said.iterations[-5:]) == ("events.out.tfevents", "to 12")
    assert data.startswith(path.read_bytes())


def test_an_episode_whose_line_is_lost(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    lines = (run / "episodes.csv").read_text().splitlines(keepends=True)
    (run / "episodes.csv").write_text("".join(lines[:8] + lines[9:]))
    with pytest.raises(ConfigError, match=r"has lost the line of episode 7, with which"):
        replay(run, 7)
    assert replay(run, 8).number == 8


def test_damaged_checkpoints_are_kept_until_the_run_has_come_as_far(
    finished: Path, in_tmp_path: Path
) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    for number in ("000010", "000012"):
        (run / f"checkpoints/{number}/weights.safetensors").write_bytes(b"bad")
    seen = []

    def on_iteration(metrics: dict) -> None:
        seen.append(sorted(path.name for path in (run / "checkpoints").iterdir()))

    distpg.resume(run, Listeners(on_iteration=on_iteration), checkpoint_every=3, keep_checkpoints=1)
    first, newest_and_best = "000000", "000006"
    assert seen[0] == [first, newest_and_best, "000010", "000012"]
    assert seen[-1] == [first, "000012"]
    assert newest_checkpoint(run, on_damaged=lambda error: pytest.fail(error.message)) is not None


def test_damaged_checkpoints_are_said_and_an_older_one_is_used(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "checkpoints/000012/weights.safetensors").write_bytes(b"bad")
    (run / "checkpoints/000010/state.json").write_bytes(b"{}")
    events: list[Event] = []
    distpg.resume(run, Listeners(on_event=events.append))
    assert [event.kind for event in events] == ["checkpoint_damaged"] * 2 + ["run_resumed"]
    assert events[-1] == RunResumed(5)
    assert content(run) == content(finished)


def test_all_checkpoints_damaged(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    for path in run.glob("checkpoints/*/state.json"):
        path.unlink()
    distpg.resume(run)
    assert content(run) == content(finished)


def test_a_finished_run_is_left_as_it_is(finished: Path) -> None:
    def snapshot() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes())
            for path in finished.rglob("*")
            if path.is_file()
        }

    before = snapshot()
    events: list[Event] = []
    result = distpg.resume(finished, Listeners(on_event=events.append))
    assert result.iterations == 12
    assert events == [RunFinishedAlready(12, f"distpg resume {finished} --max-iterations 24")]
    assert snapshot() == before


def test_a_solved_run_says_what_to_type_to_go_on(finished: Path, in_tmp_path: Path) -> None:
    run = Path("a run")
    shutil.copytree(finished, run)
    saved = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**saved, "stop_return": 5.0}))
    state = json.loads((run / "checkpoints/000012/state.json").read_text())
    progress = {**state["progress"], "recent_returns": [6.0] * 100}
    rewrite_state(run / "checkpoints/000012", progress=progress)
    events: list[Event] = []
    distpg.resume(run, Listeners(on_event=events.append), max_iterations=13)
    to_go_on = "distpg resume 'a run' --stop-return none --max-iterations 13"
    assert events == [RunFinishedAlready(12, to_go_on)]
    assert distpg.resume(run, stop_return=None, max_iterations=13).iterations == 13


def test_limits_may_be_raised_and_then_the_run_is_that_of_the_higher_limit(
    finished: Path, in_tmp_path: Path
) -> None:
    raised, straight = in_tmp_path / "raised", in_tmp_path / "straight"
    shutil.copytree(finished, raised)
    # The threads are no limit, but may be changed too.
    distpg.resume(raised, max_iterations=15, learner_threads=2)
    distpg.train(config(straight, max_iterations=15))
    assert content(raised) == content(straight)
    assert json.loads((raised / "config.json").read_text())["max_iterations"] == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.5}, "--lr cannot be changed by resume: the run has 0.005, not 0.5"),
        ({"run_dir": "elsewhere"}, "--run-dir cannot be changed by resume: a run stays in its directory"),
        ({"seed": 1}, "--seed cannot be changed"),
        ({"max_iterations": 3}, "--max-iterations can only be raised by resume: the run has 12, not 3"),
        ({"stop_return": 100.0}, "--stop-return can only be raised"),
        ({"policy_lag": 2}, "--policy-lag cannot be changed"),
        ({"ratio_clip": 2.0}, "--ratio-clip cannot be changed"),
    ],
)
def test_what_would_change_the_result_is_refused(finished: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        distpg.resume(finished, **change)


def test_checkpoints_of_another_configuration(finished: Path, in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    saved = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**saved, "gamma": 0.5}))
    with pytest.raises(
        ConfigError, match=r"another configuration: gamma is 0\.99 there, 0\.5 in config\.json"
    ):
        distpg.resume(run)


def test_a_run_resumed_with_other_arithmetic_says_so(
    finished: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    monkeypatch.setattr("distpg.training.platform.numerics_digest", lambda spec: "another CPU's")
    result = distpg.resume(run, max_iterations=13)
    assert not result.reproducible
    assert result.not_reproducible_because == "resumed with another kind of CPU or its kernels"


@pytest.mark.parametrize(("python", "why"), [("3.9", "resumed with python 3.9 before, {} now"), (None, None)])
def test_another_version_of_python_is_said_where_it_is_known(
    finished: Path, in_tmp_path: Path, python: str | None, why: str | None
) -> None:
    run = in_tmp_path / "run"
    shutil.copytree(finished, run)
    path = run / "checkpoints/000012"
    platform = json.loads((path / "state.json").read_text())["platform"]
    now = platform.pop("python")
    assert now == "{}.{}".format(*sys.version_info)
    rewrite_state(path, platform=platform if python is None else {**platform, "python": python})
    assert distpg.resume(run, max_iterations=13).not_reproducible_because == (why and why.format(now))


def test_a_listener_that_raises_loses_no_update(in_tmp_path: Path) -> None:
    def on_iteration(metrics: dict) -> None:
        if metrics["training_iteration"] == 7:
            raise ValueError("the pipe is closed")

    run = in_tmp_path / "run"
    with pytest.raises(ValueError, match="the pipe"):
        distpg.train(config(run), Listeners(on_iteration=on_iteration))
    assert (run / "checkpoints/000007").exists()


def test_a_run_in_use_is_refused(finished: Path) -> None:
    from distpg.runs.directory import exclusive

    with exclusive(finished), pytest.raises(RunDirectoryError, match="in use"):
        distpg.resume(finished, max_iterations=20)


def test_tensorboard_reads_as_if_never_stopped(in_tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    run = in_tmp_path / "run"
    with pytest.raises(Stopped):
        distpg.train(config(run), stop_after(7))
    shutil.rmtree(run / "checkpoints/000007")
    distpg.resume(run)
    steps = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 8], "little")
            event = Event.FromString(data[position + 12 : position + 12 + length])
            position += length + 16
            steps += [event.step] if event.summary.value else []
    assert steps == list(range(1, 13))


@pytest.mark.usefixtures("ray")
def test_resumed_with_other_runners(in_tmp_path: Path) -> None:
    whole, parts = in_tmp_path / "whole", in_tmp_path / "parts"
    expected = distpg.train(config(whole, baseline="value"))
    with pytest.raises(Stopped):
        distpg.train(
            config(parts, baseline="value", num_env_runners=2, cpus_per_env_runner=0.05), stop_after(6)
        )
    result = distpg.resume(parts, num_env_runners=3)
    assert result.weights_digest == expected.weights_digest
    assert content(parts) == content(whole)
