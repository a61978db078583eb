"""A run's files as it goes on: metrics.jsonl, episodes.csv, TensorBoard's events, checkpoints."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distpg.config.train_config import TrainConfig, deciding_options
from distpg.core.summaries import Summary
from distpg.runs.checkpoints import Checkpoint, save_checkpoint
from distpg.runs.metrics import EPISODE_HEADER, Metrics, episode_lines
from distpg.runs.progress import Progress
from distpg.system.files import storage_error, strict_json, writing

if TYPE_CHECKING:
    from distpg.learning.learner import Learner


@dataclass
class Clock:
    """Seconds that a run has taken, in this process and in those before it."""

    wall_before: float = 0.0
    train_before: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _training_since: float | None = None

    def training_begins(self) -> None:
        """Start-up is over."""
        self._training_since = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """All seconds."""
        return self.wall_before + time.perf_counter() - self._started

    @property
    def train_s(self) -> float:
        """Seconds without start-up."""
        if self._training_since is None:
            return self.train_before
        return self.train_before + time.perf_counter() - self._training_since


class Recorder:
    """Appends each iteration to a run's files, and writes checkpoints of the state that they tell of.

    Args:
        saved: Iterations of the checkpoint that the run goes on from; None: it starts.

    Raises:
        StorageError: From any method, when a file cannot be written.
    """

    def __init__(
        self,
        run: Path,
        config: TrainConfig,
        platform: dict[str, str | None],
        clock: Clock,
        saved: int | None = None,
    ) -> None:
        # Not its SummaryWriter: that one writes in a thread, where a full disk ends the thread and no more.
        from tensorboardX.event_file_writer import EventsWriter

        self._run = run
        self._config = config
        self._platform = platform
        self._clock = clock
        self._saved = saved
        with writing(run):
            self._metrics = (run / "metrics.jsonl").open("a", encoding="utf-8")
            self._episodes = (run / "episodes.csv").open("a", encoding="utf-8")
            # Names differ by second only: a run resumed within one would overwrite its own file.
            self._tensorboard = EventsWriter(str(run / "events"), f".{saved or 0:06}")
            if self._episodes.tell() == 0:
                self._episodes.write(EPISODE_HEADER)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            with contextlib.ExitStack() as stack:
                # Its own close leaves the file open where the disk is full.
                events = self._tensorboard._py_recordio_writer
                for file in (events, self._tensorboard, self._episodes, self._metrics):
                    stack.callback(file.close)
        except OSError as fault:
            # What cannot be written any more is lost, and said where nothing else went wrong before.
            if error is None:
                raise storage_error(self._run, fault) from fault

    def record(self, metrics: Metrics, summary: Summary, learner: Learner, progress: Progress) -> None:
        """Write an iteration, and a checkpoint if one is due."""
        with writing(self._run):
            self._episodes.writelines(episode_lines(summary, progress))
            self._episodes.flush()
            self._metrics.write(strict_json(metrics) + "\n")
            self._metrics.flush()
            self._tensorboard.write_event(_tensorboard_event(metrics))
        every = self._config.checkpoint_every
        if (every and progress.iterations % every == 0) or progress.is_best:
            self.checkpoint(learner, progress)

    def checkpoint(self, learner: Learner, progress: Progress) -> None:
        """Write a checkpoint of the present state, unless there is one already."""
        if progress.iterations == self._saved:
            return
        # A checkpoint must not be newer than what the disk has of the files beside it.
        with writing(self._run):
            for file in (self._episodes, self._metrics):
                os.fsync(file.fileno())
            self._tensorboard.flush()
        options, clock = deciding_options(self._config), self._clock
        checkpoint = Checkpoint(learner.state, progress, options, self._platform, clock.wall_s, clock.train_s)
        save_checkpoint(self._run, checkpoint, self._config.keep_checkpoints, self._saved)
        self._saved = progress.iterations


def _tensorboard_event(metrics: Metrics) -> Any:
    """One record for all numbers of an iteration, instead of one for each."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=key, simple_value=value)
        for key, value in metrics.items()
        if isinstance(value, (int, float))
    ]
    return Event(wall_time=time.time(), step=metrics["training_iteration"], summary=Summary(value=values))
