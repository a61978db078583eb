"""Policy lag is a number, not a race: the configuration alone says which weights play an iteration."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

import distpg
from distpg.config.train_config import TrainConfig, resolve_config
from distpg.core.policies import Weights
from distpg.core.seeding import environment_seed
from distpg.core.tasks import Task
from distpg.errors import EpisodeError
from distpg.learning.learner import Learner
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.group import InProcessEnvRunnerGroup, Ticket
from distpg.sampling.runner_spec import env_runner_spec
from distpg.training.replay import replay
from distpg.training.rollouts import Rollouts
from distpg.training.runners import plan
from distpg.training.start import rollouts
from distpg.training.trainer import Listeners
from tests.conftest import FEW_CPUS, a_runner, policy_spec

LAGS = [1, 2, 4]


def config(run: Path, **options: object) -> TrainConfig:
    defaults: dict = {
        "num_env_runners": 0,
        "cpus_per_env_runner": FEW_CPUS,
        "seed": 3,
        "max_iterations": 12,
        "checkpoint_every": 5,
        "hidden_sizes": (16,),
    }
    return TrainConfig(**{**defaults, **options}, run_dir=str(run))


def digests(run: Path) -> list[str]:
    return [json.loads(line)["weights_digest"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("lag", LAGS)
def test_digests_are_equal_at_any_number_of_runners(in_tmp_path: Path, lag: int) -> None:
    for number in (0, 1, 3):
        distpg.train(config(in_tmp_path / str(number), policy_lag=lag, num_env_runners=number))
    expected = digests(in_tmp_path / "0")
    assert len(set(expected)) == 12
    for number in ("1", "3"):
        assert digests(in_tmp_path / number) == expected
        assert (in_tmp_path / number / "episodes.csv").read_text() == (
            in_tmp_path / "0" / "episodes.csv"
        ).read_text()


def test_the_lag_changes_what_is_learnt(in_tmp_path: Path) -> None:
    last = [distpg.train(config(in_tmp_path / str(k), policy_lag=k)).weights_digest for k in (0, 1, 2)]
    assert len(set(last)) == 3


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("lag", [0, 1, 2, 4])
def test_iterations_are_played_with_the_weights_of_so_many_updates_ago(
    in_tmp_path: Path, lag: int, number: int
) -> None:
    resolved = resolve_config(config(in_tmp_path / "run", policy_lag=lag, num_env_runners=number), 475.0)
    policy = policy_spec(hidden_sizes=resolved.hidden_sizes)
    spec = env_runner_spec(resolved, policy)
    learner, alone = Learner(resolved, policy), EnvRunner(spec)
    made: list[Weights] = []
    with rollouts(resolved) as runners:
        for iteration in range(7):
            made.append(learner.weights)
            batch = runners.collect(iteration, learner.weights)
            behind = max(0, iteration - lag)
            assert batch.weights_seq_no == behind
            assert batch.episode_ids.tolist() == list(range(4 * iteration, 4 * iteration + 4))
            start = 0
            for task in plan(resolved, iteration):
                by_hand = alone.sample(task, made[behind])
                assert (
                    batch.observations[start : start + by_hand.num_steps].tobytes()
                    == by_hand.observations.tobytes()
                )
                start += by_hand.num_steps
                if behind < iteration:
                    now = alone.sample(task, made[iteration])
                    assert by_hand.log_probs is not None
                    assert now.log_probs is not None
                    assert by_hand.log_probs.tobytes() != now.log_probs.tobytes()
            learner.update(batch)


@pytest.mark.parametrize("lag", LAGS)
def test_interrupted_and_resumed(in_tmp_path: Path, lag: int) -> None:
    whole, parts = in_tmp_path / "whole", in_tmp_path / "parts"
    expected = distpg.train(config(whole, policy_lag=lag, baseline="value"))

    def stop_after(iterations: int) -> Listeners:
        def on_iteration(metrics: dict) -> None:
            if metrics["training_iteration"] == iterations:
                raise KeyboardInterrupt

        return Listeners(on_iteration=on_iteration)

    with pytest.raises(KeyboardInterrupt):
        distpg.train(config(parts, policy_lag=lag, baseline="value"), stop_after(1))
    for stop in (2, 7, 11):
        with pytest.raises(KeyboardInterrupt):
            distpg.resume(parts, stop_after(stop))
        assert len(digests(parts)) == stop
    assert distpg.resume(parts).weights_digest == expected.weights_digest
    assert digests(parts) == digests(whole)
    for name in ("weights", "optimizer"):
        file = f"checkpoints/000012/{name}.safetensors"
        assert (parts / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("lag", LAGS)
def test_killed_runners_change_nothing(in_tmp_path: Path, lag: int) -> None:
    expected = distpg.train(config(in_tmp_path / "calm", policy_lag=lag))
    killed: list[int] = []

    def kill_one(metrics: dict) -> None:
        if metrics["training_iteration"] in (2, 6):
            victim = a_runner()
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    result = distpg.train(
        config(in_tmp_path / "killed", policy_lag=lag, num_env_runners=2), Listeners(on_iteration=kill_one)
    )
    assert len(killed) == 2
    assert result.weights_digest == expected.weights_digest
    assert digests(in_tmp_path / "killed") == digests(in_tmp_path / "calm")


@pytest.mark.usefixtures("ray")
def test_a_stop_counts_nothing_of_what_is_in_flight(in_tmp_path: Path) -> None:
    """The limit is reached while four more iterations are being played."""
    options: dict = {"policy_lag": 4, "max_iterations": None, "max_env_steps": 200, "stop_return": None}
    for number in (0, 2):
        run = in_tmp_path / str(number)
        result = distpg.train(config(run, num_env_runners=number, **options))
        lines = (run / "episodes.csv").read_text().splitlines()[1:]
        assert len(lines) == 4 * result.iterations
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["num_env_steps_sampled_lifetime"] == sum(int(line.split(",")[4]) for line in lines)
        assert last["num_episodes_lifetime"] == len(lines)
    assert digests(in_tmp_path / "0") == digests(in_tmp_path / "2")


@pytest.mark.usefixtures("ray")
def test_a_failure_in_flight_does_not_reach_a_run_that_ends_before_it(in_tmp_path: Path) -> None:
    """Episode 13 fails, in iteration 3. Without runners, a run of three iterations never plays it."""
    options: dict = {
        "env_id": "tests.odd_environments:FailsAtSeed",
        "env_kwargs": {"seed": environment_seed(3, 13)},
        "env_reuse": "always",
        "policy_lag": 4,
        "max_iterations": None,
        "stop_return": None,
    }
    # Two steps an episode, four episodes an iteration.
    for number in (0, 2):
        run = in_tmp_path / str(number)
        result = distpg.train(config(run, num_env_runners=number, max_env_steps=24, **options))
        assert result.iterations == 3
        with pytest.raises(EpisodeError, match="episode 13"):
            distpg.resume(run, max_env_steps=100)
        assert len(digests(run)) == 3
    assert digests(in_tmp_path / "0") == digests(in_tmp_path / "2")


def test_an_episode_of_a_lagging_run_can_be_replayed(in_tmp_path: Path) -> None:
    run = in_tmp_path / "run"
    distpg.train(config(run, policy_lag=2))
    said: list[str] = []
    for episode, more in ((0, 0), (25, 0), (41, 0), (33, 1), (37, 2)):
        played = replay(run, episode, on_progress=said.append)
        assert played.number == episode
        # Checkpoints are after 0, 5, 10 and 12 updates. Episode 33 is of iteration 8, played after 6 of them.
        assert f"training {more} more" in said[-1]


def test_what_may_run_is_handed_out_once_and_the_oldest_first(in_tmp_path: Path) -> None:
    handed: list[tuple[float, int]] = []

    class Watched(InProcessEnvRunnerGroup):
        def add(self, tasks: Sequence[Task], weights: Weights) -> Ticket:
            handed.append((float(weights["layers.0.bias"][0]), tasks[0].first_episode))
            return super().add(tasks, weights)

    resolved = resolve_config(config(in_tmp_path / "run", policy_lag=2, max_iterations=6), None)
    policy = policy_spec()
    runners = Rollouts(resolved, policy, Watched(env_runner_spec(resolved, policy)))
    for iteration in range(6):
        weights = runners.initial_weights
        weights["layers.0.bias"][0] = iteration
        runners.collect(iteration, weights)
    assert handed == [(0, 0), (0, 4), (0, 8), (1, 12), (2, 16), (3, 20)]
