"""What is measured of an iteration, and the files it goes to: metrics.jsonl, episodes.csv, TensorBoard."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from distpg.core.episodes import EpisodeBatch, actions_digests
from distpg.runs.progress import Progress
from distpg.system.files import storage_error, strict_json

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
    steps = progress.env_steps - batch.num_steps + np.cumsum(batch.lengths, dtype=np.int64)
    columns = zip(
        batch.episode_ids.tolist(),
        steps.tolist(),
        batch.episode_returns.tolist(),
        batch.lengths.tolist(),
        batch.terminated.tolist(),
        actions_digests(batch),
        strict=True,
    )
    return [
        f"{episode},{progress.iterations},{lifetime},{total!r},{length},{str(terminated).lower()},{digest}\n"
        for episode, lifetime, total, length, terminated, digest in columns
    ]


class MetricsLog:
    """Appends each iteration to the run's files, and flushes them.

    Args:
        iterations: Those that the files have already.

    Raises:
        StorageError: From any method, when a file cannot be written.
    """

    def __init__(self, run: Path, iterations: int = 0) -> None:
        # Not its SummaryWriter: that one writes in a thread, where a full disk ends the thread and no more.
        from tensorboardX.event_file_writer import EventsWriter

        self._run = run
        try:
            self._metrics = (run / "metrics.jsonl").open("a", encoding="utf-8")
            self._episodes = (run / "episodes.csv").open("a", encoding="utf-8")
            # Names differ by second only: a run resumed within one would overwrite its own file.
            self._tensorboard = EventsWriter(str(run / "events"), f".{iterations:06}")
            if self._episodes.tell() == 0:
                self._episodes.write(",".join(EPISODE_COLUMNS) + "\n")
        except OSError as error:
            raise storage_error(run, error) from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files, all of them: what cannot be written any more is lost, and said.

        Raises:
            StorageError: A file cannot be written, and nothing else went wrong before.
        """
        failed: OSError | None = None
        for file in (self._metrics, self._episodes, self._tensorboard):
            try:
                file.close()
            except OSError as fault:
                failed = fault
        if failed is not None and error is None:
            raise storage_error(self._run, failed) from failed

    def write(self, metrics: Metrics, batch: EpisodeBatch, progress: Progress) -> None:
        """Append one iteration."""
        try:
            self._episodes.writelines(episode_lines(batch, progress))
            self._episodes.flush()
            self._metrics.write(strict_json(metrics) + "\n")
            self._metrics.flush()
            self._add_to_tensorboard(metrics)
        except OSError as error:
            raise storage_error(self._run, error) from error

    def sync(self) -> None:
        """Wait until the disk has everything: a checkpoint must not be newer than the files beside it."""
        try:
            for file in (self._episodes, self._metrics):
                os.fsync(file.fileno())
            self._tensorboard.flush()
        except OSError as error:
            raise storage_error(self._run, error) from error

    def _add_to_tensorboard(self, metrics: Metrics) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        # One record an iteration instead of one a metric.
        values = [
            Summary.Value(tag=key, simple_value=value)
            for key, value in metrics.items()
            if isinstance(value, (int, float))
        ]
        event = Event(
            wall_time=time.time(), step=metrics["training_iteration"], summary=Summary(value=values)
        )
        self._tensorboard.write_event(event)
