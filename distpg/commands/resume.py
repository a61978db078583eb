"""``distpg resume``."""

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


def run(arguments: list[str]) -> int:
    """Go on with the run, and show the course and the outcome."""
    # The run, wherever it stands: its own options are the defaults, so those not given stay as they were.
    words = [expand_home(word) for word in arguments if not word.startswith("-")]
    # Path.is_dir raises for names that are too long.
    found = next((word for word in words if os.path.isdir(word)), None)  # noqa: PTH112
    base = TrainConfig() if found is None else load_run_config(Path(found))
    options = parse(ResumeOptions(training=base), "distpg resume", arguments)

    from distpg.training.resume import resume

    follow(options.quiet, lambda listeners: resume(options.run, listeners, **vars(options.training)))
    return 0
