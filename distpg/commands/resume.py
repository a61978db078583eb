"""``distpg resume``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from distpg.commands.display import follow
from distpg.commands.options import RunOptions
from distpg.commands.parser import parse
from distpg.config.option_types import expand_home
from distpg.config.train_config import TrainConfig
from distpg.runs.directory import load_run_config


@dataclass(frozen=True)
class ResumeOptions(RunOptions):
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Only what cannot change the result may be changed, and limits may be raised.
    """

    training: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def read(arguments: list[str]) -> ResumeOptions:
    """The command line; the run's own options are the defaults, so those not given stay as they were."""
    words = [expand_home(word) for word in arguments if not word.startswith("-")]
    # Wherever it stands. Path.is_dir raises for names that are too long.
    run = next((word for word in words if os.path.isdir(word)), None)  # noqa: PTH112
    base = TrainConfig() if run is None else load_run_config(Path(run))
    return parse(ResumeOptions(training=base), "distpg resume", arguments)


def run(options: ResumeOptions) -> int:
    """Go on with the run, and show the course and the outcome."""
    from distpg.training.trainer import resume

    follow(options.quiet, lambda listeners: resume(options.run, listeners, **vars(options.training)))
    return 0
