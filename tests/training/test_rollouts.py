"""Collection as a library, as somebody with a learner of their own uses it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distpg
from distpg.core.episodes import batch_digest
from distpg.core.events import Event
from distpg.errors import ConfigError, EpisodeError

SMALL = {"episodes_per_iteration": 6, "hidden_sizes": (8,), "seed": 4}


def digests(num_env_runners: int, **options: object) -> list[str]:
    with distpg.rollouts(distpg.TrainConfig(num_env_runners=num_env_runners, **SMALL), **options) as runners:
        weights, found = runners.initial_weights, []
        for iteration in range(3):
            batch = runners.collect(iteration, weights)
            assert batch.episode_ids.tolist() == list(range(6 * iteration, 6 * iteration + 6))
            assert batch.weights_seq_no == iteration
            found.append(batch_digest(batch))
            weights = {name: array + np.float32(0.01) for name, array in weights.items()}
        return found


@pytest.mark.usefixtures("ray")
def test_batches_are_the_same_at_any_number_of_runners() -> None:
    here = digests(0, log_probs=True, rewards=True)
    assert digests(2, log_probs=True, rewards=True) == here
    assert digests(0) != here


def test_rewards_and_log_probs_are_there_if_asked_for() -> None:
    for asked in (False, True):
        with distpg.rollouts(
            distpg.TrainConfig(num_env_runners=0, **SMALL), rewards=asked, log_probs=asked
        ) as runners:
            batch = runners.collect(0, runners.initial_weights)
        assert (batch.rewards is not None) is (batch.log_probs is not None) is asked
    assert batch.rewards is not None
    assert batch.log_probs is not None
    assert batch.rewards.dtype == batch.log_probs.dtype == np.float32
    assert batch.rewards.sum() == batch.episode_returns.sum()
    assert (batch.log_probs < 0).all()


def test_what_is_no_weights_or_no_next_iteration_is_refused() -> None:
    with distpg.rollouts(distpg.TrainConfig(num_env_runners=0, **SMALL)) as runners:
        weights = runners.initial_weights
        for wrong in (
            {},
            {name: array.astype(np.float64) for name, array in weights.items()},
            {name: array[:1] for name, array in weights.items()},
        ):
            with pytest.raises(ValueError, match="weights must be float32 arrays of these shapes"):
                runners.collect(0, wrong)
        with pytest.raises(ValueError, match="iteration 0 is next, not 1"):
            runners.collect(1, weights)
        runners.collect(0, weights)
        with pytest.raises(ValueError, match="iteration 1 is next, not 0"):
            runners.collect(0, weights)


@pytest.mark.parametrize("lag", [0, 2])
def test_weights_may_be_changed_in_place_between_iterations(lag: int) -> None:
    played = []
    for in_place in (False, True):
        config = distpg.TrainConfig(num_env_runners=0, policy_lag=lag, **SMALL)
        with distpg.rollouts(config) as runners:
            weights, digests = runners.initial_weights, []
            for iteration in range(5):
                digests.append(batch_digest(runners.collect(iteration, weights)))
                if not in_place:
                    weights = {name: array.copy() for name, array in weights.items()}
                for array in weights.values():
                    array += np.float32(0.5)
            played.append(digests)
    assert played[0] == played[1]


def test_a_limit_of_iterations_is_the_learners_own_affair() -> None:
    config = distpg.TrainConfig(num_env_runners=0, policy_lag=2, max_iterations=2, **SMALL)
    with distpg.rollouts(config) as runners:
        for iteration in range(4):
            batch = runners.collect(iteration, runners.initial_weights)
            assert batch.weights_seq_no == max(0, iteration - 2)


def test_errors_are_those_of_training() -> None:
    with pytest.raises(ConfigError, match="there is no environment"):
        distpg.rollouts(distpg.TrainConfig(env_id="Nothing-v0", num_env_runners=0)).__enter__()
    failing = distpg.TrainConfig(
        env_id="tests.odd_environments:Fails",
        env_kwargs={"share": 1.0},
        num_env_runners=0,
        env_reuse="always",
    )
    with distpg.rollouts(failing) as runners, pytest.raises(EpisodeError, match="the simulator broke"):
        runners.collect(0, runners.initial_weights)


def test_what_is_not_reproducible_is_said() -> None:
    events: list[Event] = []
    config = distpg.TrainConfig(env_id="tests.odd_environments:OnTheClock", num_env_runners=0)
    with distpg.rollouts(config, on_event=events.append) as runners:
        assert runners.why_not_reproducible is not None
        assert [event.why_not for event in events] == [runners.why_not_reproducible]
    with distpg.rollouts(distpg.TrainConfig(num_env_runners=0)) as runners:
        assert runners.why_not_reproducible is None


INTERRUPTED = """
import distpg
with distpg.rollouts(distpg.TrainConfig(num_env_runners=0, hidden_sizes=(8,))) as runners:
    for iteration in range(10**9):
        runners.collect(iteration, runners.initial_weights)
        if iteration == 0:
            print("playing", flush=True)
"""


def test_a_signal_ends_collection_with_its_clean_up() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(distpg.__file__).parent.parent)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "playing\n"
    child.send_signal(signal.SIGTERM)
    assert "Interrupted" in child.communicate(timeout=60)[1]
    assert child.returncode != 0
