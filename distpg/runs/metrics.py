"""What is measured of an iteration: its figures, and its episodes' lines."""

from typing import Any

import numpy as np

from distpg.core.episodes import EpisodeBatch, actions_digests
from distpg.learning.learner import Gradient
from distpg.runs.progress import Progress

Metrics = dict[str, Any]

EPISODE_COLUMNS = (
    "episode_id",
    "training_iteration",
    "num_env_steps_lifetime",
    "episode_return",
    "episode_len",
    "terminated",
    "actions_digest",
)
EPISODE_HEADER = ",".join(EPISODE_COLUMNS) + "\n"


@np.errstate(all="ignore")  # which an environment may have changed
def iteration_metrics(
    batch: EpisodeBatch, gradient: Gradient, progress: Progress, sample_s: float, learn_s: float
) -> Metrics:
    """The figures of one iteration that its batch, gradient and clock determine.

    ``discounted_return_mean`` estimates J(theta), the value of the start state (article, performance
    measure): the mean of the episodes' G_0. ``progress`` counts the batch already. Times are in seconds;
    ``time_total_s`` adds up the iterations'.
    """
    return {
        "training_iteration": progress.iterations,
        "num_env_steps_sampled_lifetime": progress.env_steps,
        "num_episodes_lifetime": progress.episodes,
        "episode_return_mean": float(batch.episode_returns.mean()),
        "episode_return_min": float(batch.episode_returns.min()),
        "episode_return_max": float(batch.episode_returns.max()),
        "episode_return_mean_100": progress.recent_return_mean,
        "episode_len_mean": float(batch.lengths.mean()),
        "discounted_return_mean": float(batch.returns[batch.starts].mean(dtype=np.float64)),
        "return_variance": gradient.return_variance,
        "advantage_variance": gradient.advantage_variance,
        "policy_entropy": gradient.policy_entropy,
        "grad_norm": gradient.norm,
        "loss": gradient.loss,
        "env_steps_per_s": batch.num_steps / (sample_s + learn_s),
        "episodes_per_s": batch.num_episodes / (sample_s + learn_s),
        "time_sample_s": sample_s,
        "time_learn_s": learn_s,
        "time_total_s": progress.seconds,
    }


def episode_lines(batch: EpisodeBatch, progress: Progress) -> list[str]:
    """The batch's lines of episodes.csv; ``progress`` counts the batch already."""
    env_steps = progress.env_steps - batch.num_steps + np.cumsum(batch.lengths, dtype=np.int64)
    columns = zip(
        batch.episode_ids.tolist(),
        env_steps.tolist(),
        batch.episode_returns.tolist(),
        batch.lengths.tolist(),
        batch.terminated.tolist(),
        actions_digests(batch),
        strict=True,
    )
    return [
        f"{episode},{progress.iterations},{steps},{total!r},{length},{str(terminated).lower()},{digest}\n"
        for episode, steps, total, length, terminated, digest in columns
    ]
