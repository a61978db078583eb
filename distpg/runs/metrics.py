"""What is measured of an iteration: its figures, and its episodes' lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distpg.core.summaries import Summary
from distpg.runs.progress import Progress

if TYPE_CHECKING:
    from distpg.learning.learner import Gradient

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
    summary: Summary, gradient: Gradient, progress: Progress, sample_s: float, learn_s: float
) -> Metrics:
    """The figures of one iteration that its episodes, gradient and clock determine.

    ``discounted_return_mean`` estimates J(theta), the value of the start state (article, performance
    measure): the mean of the episodes' G_0. ``progress`` counts the episodes already. Times are in seconds;
    ``time_total_s`` adds up the iterations'.
    """
    return {
        "training_iteration": progress.iterations,
        "num_env_steps_sampled_lifetime": progress.env_steps,
        "num_episodes_lifetime": progress.episodes,
        "episode_return_mean": float(summary.episode_returns.mean()),
        "episode_return_min": float(summary.episode_returns.min()),
        "episode_return_max": float(summary.episode_returns.max()),
        "episode_return_mean_100": progress.recent_return_mean,
        "episode_len_mean": float(summary.lengths.mean()),
        "discounted_return_mean": float(summary.first_returns.mean(dtype=np.float64)),
        "return_variance": gradient.return_variance,
        "advantage_variance": gradient.advantage_variance,
        "policy_entropy": gradient.policy_entropy,
        "grad_norm": gradient.norm,
        "loss": gradient.loss,
        "env_steps_per_s": summary.num_steps / (sample_s + learn_s),
        "episodes_per_s": summary.num_episodes / (sample_s + learn_s),
        "time_sample_s": sample_s,
        "time_learn_s": learn_s,
        "time_total_s": progress.seconds,
    }


def episode_lines(summary: Summary, progress: Progress) -> list[str]:
    """The episodes' lines of episodes.csv; ``progress`` counts them already."""
    env_steps = progress.env_steps - summary.num_steps + np.cumsum(summary.lengths, dtype=np.int64)
    columns = zip(
        summary.episode_ids.tolist(),
        env_steps.tolist(),
        summary.episode_returns.tolist(),
        summary.lengths.tolist(),
        summary.terminated.tolist(),
        summary.actions_digests,
        strict=True,
    )
    return [
        f"{episode},{progress.iterations},{steps},{total!r},{length},{str(terminated).lower()},{digest}\n"
        for episode, steps, total, length, terminated, digest in columns
    ]
