"""A whole run, through the command as a user types it, in its own process."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

METRICS = {
    *("training_iteration", "num_env_steps_sampled_lifetime", "num_episodes_lifetime", "episode_return_mean"),
    *("episode_return_min", "episode_return_max", "episode_return_mean_100", "episode_len_mean"),
    *("discounted_return_mean", "return_variance", "advantage_variance", "policy_entropy", "grad_norm"),
    *("loss", "lr", "env_steps_per_s", "episodes_per_s", "time_sample_s", "time_learn_s", "time_total_s"),
    *("num_healthy_env_runners", "num_env_runner_restarts", "weights_seq_no", "weights_digest"),
}


def distpg(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distpg", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CartPole with the defaults, solved by two Ray runners."""
    directory = tmp_path_factory.mktemp("solved")
    result = distpg("train", "--run-dir", "run", "--num-env-runners", "2", cwd=directory)
    assert result.returncode == 0, result.stderr
    assert "Solved after" in result.stdout
    assert result.stderr == ""
    return directory / "run"


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["solved"] is True
    assert result["env_steps_to_solve"] <= 150_000
    assert result["reproducible"] is True
    assert result["seed"] == 0
    assert set(result["versions"]) >= {"distpg", "ray", "torch", "gymnasium", "numpy", "python"}
    lines = metrics(run)
    assert result["iterations"] == len(lines)
    assert lines[-1]["episode_return_mean_100"] >= 475
    assert all(line["episode_return_mean_100"] < 475 for line in lines[24:-1])
    assert result["weights_digest"] == lines[-1]["weights_digest"]
    assert result["env_steps_to_solve"] == lines[-1]["num_env_steps_sampled_lifetime"]


def test_metrics_and_episodes_agree(run: Path) -> None:
    lines = metrics(run)
    with (run / "episodes.csv").open(newline="") as file:
        episodes = list(csv.DictReader(file))
    assert all(set(line) == METRICS for line in lines)
    assert [line["training_iteration"] for line in lines] == list(range(1, len(lines) + 1))
    assert [int(episode["episode_id"]) for episode in episodes] == list(range(4 * len(lines)))
    steps = 0
    for index, episode in enumerate(episodes):
        steps += int(episode["episode_len"])
        assert int(episode["num_env_steps_lifetime"]) == steps
        assert int(episode["training_iteration"]) == index // 4 + 1
        assert episode["terminated"] == ("true" if int(episode["episode_len"]) < 500 else "false")
    assert lines[-1]["num_env_steps_sampled_lifetime"] == steps
    last = [float(episode["episode_return"]) for episode in episodes[-4:]]
    assert lines[-1]["episode_return_mean"] == sum(last) / 4
    assert lines[-1]["num_healthy_env_runners"] == 2
    # The timestep baseline at the top of CartPole leaves nothing to learn from.
    assert lines[-1]["return_variance"] > 500
    assert lines[-1]["time_total_s"] == pytest.approx(
        sum(line["time_sample_s"] + line["time_learn_s"] for line in lines)
    )


def test_config_json_has_no_auto_left_and_repeats_the_run(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert "auto" not in config.values()
    assert config["stop_return"] == 475
    assert config["num_env_runners"] == 2
    again = distpg(
        *("train", "--config", str(run / "config.json"), "--num-env-runners", "0", "--run-dir", "again"),
        cwd=run.parent,
    )
    assert again.returncode == 0, again.stderr
    first, second = (json.loads((path / "result.json").read_text()) for path in (run, run.parent / "again"))
    assert first["weights_digest"] == second["weights_digest"]


def test_both_figures_are_pngs(run: Path) -> None:
    for name in ("learning_curve.png", "variance.png"):
        data = (run / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000


def test_tensorboard_has_every_metric(run: Path) -> None:
    # What SummaryWriter writes: records of length, checksum, event, checksum.
    from tensorboardX.proto.event_pb2 import Event

    (path,) = run.glob("events.out.tfevents.*")
    data, position, tags, steps = path.read_bytes(), 0, set(), []
    while position < len(data):
        length = int.from_bytes(data[position : position + 8], "little")
        event = Event.FromString(data[position + 12 : position + 12 + length])
        position += length + 16
        tags |= {value.tag for value in event.summary.value}
        steps += [event.step] if event.summary.value else []
    assert tags == METRICS - {"weights_digest"}
    assert steps == list(range(1, len(metrics(run)) + 1))


def test_events_list_the_runners(run: Path) -> None:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    # On a machine that others use too a runner may be slow now and then, and be helped. One compiles.
    assert {event["event"] for event in events} - {"tasks_hedged", "compiling"} == {"env_runner_joined"}


def test_plot_redraws_and_overlays(run: Path, in_tmp_path: Path) -> None:
    (run / "variance.png").unlink()
    assert distpg("plot", str(run), cwd=in_tmp_path).returncode == 0
    assert (run / "variance.png").exists()
    assert distpg("plot", str(run), str(run), cwd=in_tmp_path).returncode == 0
    assert (in_tmp_path / "learning_curve.png").exists()


def test_a_limit_reached_unsolved_is_success(in_tmp_path: Path) -> None:
    result = distpg("train", "--num-env-runners", "0", "--max-iterations", "2", "--quiet", cwd=in_tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (run,) = (in_tmp_path / "runs").iterdir()
    assert run.name.startswith("CartPole-v1-0-")
    outcome = json.loads((run / "result.json").read_text())
    assert (outcome["solved"], outcome["env_steps_to_solve"], outcome["iterations"]) == (False, None, 2)
    assert (run / "learning_curve.png").exists()


def test_without_ray(in_tmp_path: Path) -> None:
    """Ray is hidden as if it were not installed."""
    (in_tmp_path / "hide").mkdir()
    (in_tmp_path / "hide" / "ray.py").write_text("raise ImportError('ray is not installed')\n")
    hidden = {"PYTHONPATH": f"{in_tmp_path / 'hide'}{os.pathsep}{Path(__file__).parent.parent.parent}"}
    here = distpg("train", "--num-env-runners", "0", "--max-iterations", "2", cwd=in_tmp_path, **hidden)
    assert here.returncode == 0, here.stderr
    there = distpg("train", "--num-env-runners", "2", "--max-iterations", "2", cwd=in_tmp_path, **hidden)
    assert there.returncode == 1
    assert there.stderr.startswith("error: Ray is not installed\nhint: pip install ray")


def test_an_environment_that_fails_is_reported_with_its_episode(in_tmp_path: Path) -> None:
    result = distpg(
        *("train", "--env-id", "tests.odd_environments:Fails", "--num-env-runners", "0"),
        cwd=in_tmp_path,
        PYTHONPATH=str(Path(__file__).parent.parent.parent),
    )
    assert result.returncode == 1
    error, hint = result.stderr.splitlines()
    assert "failed in episode" in error
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("number", "num_env_runners"),
    [
        (signal.SIGINT, "0"),
        (signal.SIGTERM, "0"),
        (signal.SIGUSR1, "0"),
        (signal.SIGINT, "1"),
        (signal.SIGTERM, "1"),
        (signal.SIGHUP, "1"),
    ],
)
def test_an_interrupted_run_ends_with_130_and_whole_lines(
    in_tmp_path: Path, number: signal.Signals, num_env_runners: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "distpg",
        "train",
        "--num-env-runners",
        num_env_runners,
        "--run-dir",
        "run",
    ]
    with subprocess.Popen(
        [*command, "--stop-return", "none", "--max-env-steps", "none"],
        cwd=in_tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("iteration"):
                break
        if number == signal.SIGHUP:  # as where a terminal is closed: Ray's processes get it too
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.stdout.read()
        assert process.wait() == 130
        error, hint = process.stderr.read().splitlines()
    assert error == "error: interrupted"
    assert hint.endswith("distpg resume run"), "the run is named"
    run = in_tmp_path / "run"
    last = metrics(run)[-1]
    with (run / "episodes.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == last["num_episodes_lifetime"]
    assert not (run / "result.json").exists()


def test_numpy_imported_before_distpg_stops_nobody(in_tmp_path: Path) -> None:
    """As in every notebook. Where it makes this process compute other bits than its runners, that is said."""
    script = (
        "import numpy, distpg\n"
        "config = distpg.TrainConfig(max_iterations=2, num_env_runners=1, run_dir='run')\n"
        "result = distpg.train(config)\n"
        "assert result.iterations == 2\n"
        "assert result.reproducible or 'before distpg' in result.not_reproducible_because\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
