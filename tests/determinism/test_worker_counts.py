"""The promise that matters most: no number of workers changes a bit of the result."""

import json
from pathlib import Path

import numpy as np
import pytest

import distpg
from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.events import Event
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.sampling.group import InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import env_runner_spec
from tests.conftest import FEW_CPUS, collect, policy_spec, ray_group


def as_bytes(batch: EpisodeBatch) -> dict[str, bytes]:
    return {key: value.tobytes() for key, value in vars(batch).items() if isinstance(value, np.ndarray)}


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("num_env_runners", [1, 2, 3])
def test_local_and_ray_batches_are_equal_to_the_byte(num_env_runners: int) -> None:
    policy = policy_spec()
    spec = env_runner_spec(TrainConfig(seed=4), policy)
    weights = policy.initial_weights(4)
    here = InProcessEnvRunnerGroup(spec)
    there = ray_group(spec, num_env_runners)
    for iteration, (episodes, per_task) in enumerate([(7, 1), (10, 3), (64, 8), (1, 1)]):
        tasks = tasks_of_iteration(iteration, episodes, per_task, 0)
        assert as_bytes(collect(there, tasks, weights)) == as_bytes(collect(here, tasks, weights))
    there.close()


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("baseline", "episodes", "per_task"), [("none", 4, "auto"), ("episode", 7, "auto"), ("timestep", 10, 2)]
)
def test_digests_of_every_iteration_are_equal(
    in_tmp_path: Path, baseline: str, episodes: int, per_task: int | str
) -> None:
    digests = {}
    for number in (0, 1, 3):
        run = in_tmp_path / str(number)
        config = TrainConfig(
            seed=7,
            baseline=baseline,
            episodes_per_iteration=episodes,
            episodes_per_task=per_task,
            max_iterations=12,
            num_env_runners=number,
            cpus_per_env_runner=FEW_CPUS,
            run_dir=str(run),
        )
        result = distpg.train(config)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        digests[number] = [line["weights_digest"] for line in lines]
        assert len(set(digests[number])) == 12
        assert result.weights_digest == digests[number][-1]
        if number:
            episodes_csv = (run / "episodes.csv").read_text()
            assert episodes_csv == (in_tmp_path / "0" / "episodes.csv").read_text()
    assert digests[0] == digests[1] == digests[3]


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("num_env_runners", [0, 1, 3])
def test_short_episodes_are_not_over_represented(num_env_runners: int) -> None:
    """Of 2 or 200 steps, equally likely: who takes the first finishers collects the short ones."""
    env_id = "tests.odd_environments:ShortOrLong"
    policy = policy_spec(env_id)
    spec = env_runner_spec(TrainConfig(env_id=env_id, seed=1), policy)
    group = ray_group(spec, num_env_runners) if num_env_runners else InProcessEnvRunnerGroup(spec)
    tasks = [Task(first, 10, 0) for first in range(0, 2000, 10)]
    lengths = collect(group, tasks, policy.initial_weights(0)).lengths
    group.close()
    assert set(lengths.tolist()) == {2, 200}
    # The mean of 2000 has a standard deviation of 99 / sqrt(2000) = 2.2; the seed is fixed.
    assert abs(lengths.mean() - 101) < 4 * 2.2


@pytest.mark.usefixtures("ray")
def test_a_killed_runner_changes_nothing(in_tmp_path: Path) -> None:
    env_id = "tests.odd_environments:KillsOnce"
    marker = in_tmp_path / "killed"
    calm = TrainConfig(env_id="tests.odd_environments:ShortOrLong", seed=2)
    deadly = TrainConfig(env_id=env_id, env_kwargs={"marker": str(marker)}, seed=2)
    policy = policy_spec(calm.env_id)
    weights = policy.initial_weights(0)
    tasks = tasks_of_iteration(0, 12, 1, 0)
    expected = collect(InProcessEnvRunnerGroup(env_runner_spec(calm, policy)), tasks, weights)
    events: list[Event] = []
    group = ray_group(env_runner_spec(deadly, policy), 2, events.append)
    assert as_bytes(collect(group, tasks, weights)) == as_bytes(expected)
    assert marker.exists()
    group.wait_for(2)
    assert group.num_restarts == 1
    assert [event.kind for event in events].count("env_runner_died") == 1
    group.close()
