import numpy as np
import pytest

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch, actions_digests, concatenate
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.group import InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import env_runner_spec
from tests.conftest import collect, make_batch, policy_spec

SPEC = policy_spec()
WEIGHTS = SPEC.initial_weights(0)
RUNNER_SPEC = env_runner_spec(TrainConfig(gamma=0.5), SPEC)


def test_a_batch_holds_whole_episodes_in_the_documented_types() -> None:
    batch = EnvRunner(RUNNER_SPEC).sample(Task(5, 3, weights_seq_no=2), WEIGHTS)
    steps = batch.num_steps
    assert (batch.observations.shape, batch.observations.dtype) == ((steps, 4), np.float32)
    assert (batch.actions.shape, batch.actions.dtype) == ((steps,), np.uint8)
    assert (batch.returns.shape, batch.returns.dtype) == ((steps,), np.float32)
    assert batch.episode_ids.tolist() == [5, 6, 7]
    assert batch.lengths.dtype == np.int32
    assert batch.lengths.sum() == steps
    assert batch.episode_returns.tolist() == batch.lengths.tolist()  # CartPole pays 1 a step
    assert batch.terminated.all()
    assert batch.weights_seq_no == 2
    ends = np.cumsum(batch.lengths) - 1
    assert batch.returns[ends].tolist() == [1, 1, 1]
    assert batch.returns[ends - 2].tolist() == [1.75, 1.75, 1.75]
    assert batch.log_probs is None


def test_a_step_of_cartpole_takes_at_most_25_bytes() -> None:
    batch = EnvRunner(RUNNER_SPEC).sample(Task(0, 16, 0), WEIGHTS)
    assert sum(array.nbytes for array in batch.arrays.values()) <= 25 * batch.num_steps


def test_the_group_of_no_runners_answers_in_order() -> None:
    group = InProcessEnvRunnerGroup(RUNNER_SPEC)
    batch = collect(group, tasks_of_iteration(2, 5, 2, 0), WEIGHTS)
    assert batch.episode_ids.tolist() == [10, 11, 12, 13, 14]
    assert (group.num_healthy, group.num_restarts) == (0, 0)


def test_concatenated_batches_keep_their_episodes() -> None:
    first, second = make_batch([2, 3], seed=1), make_batch([4], seed=2)
    joined = concatenate([first, second])
    assert joined.lengths.tolist() == [2, 3, 4]
    assert joined.starts.tolist() == [0, 2, 5]
    assert joined.returns[5:].tolist() == second.returns.tolist()
    assert joined.log_probs is None


def test_batches_of_different_weights_are_not_joined() -> None:
    later = EpisodeBatch(**{**vars(make_batch([1])), "weights_seq_no": 1})
    with pytest.raises(ValueError, match="different weights"):
        concatenate([make_batch([1]), later])


def test_actions_digests_are_per_episode() -> None:
    batch = make_batch([2, 2, 3])
    batch.actions[:] = [0, 1, 0, 1, 0, 1, 0]
    first, second, third = actions_digests(batch)
    assert first == second != third
    import hashlib

    assert first == hashlib.sha256(bytes([0, 1])).hexdigest()[:16]
