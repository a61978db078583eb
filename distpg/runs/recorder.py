"""What of a run goes to disk, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from distpg.config.train_config import TrainConfig, deciding_options
from distpg.core.episodes import EpisodeBatch
from distpg.learning.learner import Learner
from distpg.runs.checkpoints import Checkpoint, save_checkpoint
from distpg.runs.metrics import Metrics, MetricsLog
from distpg.runs.progress import Progress


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
    """Writes each iteration to the run's files, and checkpoints of the state that they tell of.

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
        self._run = run
        self._platform = platform
        self._config = config
        self._clock = clock
        self._saved = saved
        self._log = MetricsLog(run, saved or 0)

    def __enter__(self) -> Recorder:
        self._log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.__exit__(kind, error, trace)

    def record(self, metrics: Metrics, batch: EpisodeBatch, learner: Learner, progress: Progress) -> None:
        """Write an iteration, and a checkpoint if one is due."""
        self._log.write(metrics, batch, progress)
        every = self._config.checkpoint_every
        if every and progress.iterations % every == 0:
            self.checkpoint(learner, progress)

    def checkpoint(self, learner: Learner, progress: Progress) -> None:
        """Write a checkpoint of the present state, unless there is one already."""
        if progress.iterations == self._saved:
            return
        self._log.sync()
        checkpoint = Checkpoint(
            learner.state,
            progress,
            deciding_options(self._config),
            self._platform,
            self._clock.wall_s,
            self._clock.train_s,
        )
        save_checkpoint(self._run, checkpoint, self._config.keep_checkpoints)
        self._saved = progress.iterations
