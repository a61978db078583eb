"""From what a sampler played to the batch of a task."""

import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import EpisodeBatch
from distpg.core.returns import discounted_returns
from distpg.core.seeding import environment_seed
from distpg.core.tasks import Task
from distpg.errors import EpisodeError
from distpg.sampling.failures import failure
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.sampling.sampler import Trajectories


def batch_of(task: Task, played: Trajectories, spec: EnvRunnerSpec) -> EpisodeBatch:
    """The task's episodes with their returns; raises EpisodeError where float32 does not hold them."""
    if task.plays != "training":
        return _of_evaluation(task, played)
    returns32 = played.returns
    if returns32 is None:
        returns = discounted_returns(played.rewards, played.lengths, spec.gamma, spec.returns)
        with np.errstate(over="ignore"):
            returns32 = returns.astype(np.float32)
    ids = _episode_ids(task)
    if not (finite := np.isfinite(returns32)).all():
        episode = int(np.repeat(ids, played.lengths)[~finite][0])
        raise EpisodeError(
            f"{spec.env.env_id} gave rewards in episode {episode} too large for float32",
            "Scale the rewards down.",
            episode,
        )
    if spec.finals:
        _check_finals(task, played, spec)
    return EpisodeBatch(
        observations=played.observations,
        actions=played.actions,
        returns=returns32,
        lengths=played.lengths,
        episode_ids=ids,
        episode_returns=played.episode_returns,
        terminated=played.terminated,
        weights_seq_no=task.weights_seq_no,
        log_probs=played.log_probs,
        final_observations=played.final_observations if spec.finals else None,
        action_masks=played.action_masks,
        rewards=played.rewards.astype(np.float32) if spec.rewards else None,
    )


def _check_finals(task: Task, played: Trajectories, spec: EnvRunnerSpec) -> None:
    """Of episodes that were cut the last observation counts too (EpisodeError: it is not finite)."""
    wrong = ~np.isfinite(played.final_observations).all(axis=1) & ~played.terminated
    if wrong.any():
        index = int(wrong.argmax())
        episode, t = int(_episode_ids(task)[index]), int(played.lengths[index])
        error = ValueError(f"its observation is {played.final_observations[index].tolist()}")
        raise failure(spec.env.env_id, error, episode, t, environment_seed(spec.seed, episode))


def _of_evaluation(task: Task, played: Trajectories) -> EpisodeBatch:
    """Returns and lengths: nothing is learnt from the steps."""
    return EpisodeBatch(
        observations=played.observations,
        actions=played.actions,
        returns=np.empty(0, np.float32),
        lengths=played.lengths,
        episode_ids=_episode_ids(task),
        episode_returns=played.episode_returns,
        terminated=played.terminated,
        weights_seq_no=task.weights_seq_no,
    )


def _episode_ids(task: Task) -> NDArray[np.int64]:
    return np.arange(task.first_episode, task.first_episode + task.num_episodes, dtype=np.int64)
