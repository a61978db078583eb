"""``distpg resume``."""

import dataclasses
import os
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from distpg.commands.display import follow
from distpg.commands.options import RunOptions
from distpg.commands.parser import asks_for_help, find_run, parse
from distpg.config.option_types import OnResume, options_of
from distpg.config.train_config import TrainConfig
from distpg.runs.directory import load_run_config
from distpg.system.garbage import load


@dataclass(frozen=True)
class ResumeOptions(RunOptions):
    """Go on with a run from its last checkpoint, as if it had never stopped."""

    training: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def run(arguments: list[str]) -> int:
    """Go on with the run, and show the course and the outcome."""
    # Its own options are the defaults, so those not given stay as they were.
    found = find_run(ResumeOptions, "distpg resume", arguments)
    # Path.is_dir raises for names that are too long.
    is_there = os.path.isdir(found)  # noqa: PTH112
    base = load_run_config(Path(found)) if is_there else TrainConfig()
    if asks_for_help(arguments):
        base = _shown(is_there)(**vars(base))
    options = parse(ResumeOptions(training=base), "distpg resume", arguments)

    load("distpg.training.resume")
    from distpg.training.resume import resume

    follow(options.quiet, lambda listeners: resume(options.run, listeners, **vars(options.training)))
    return 0


def _shown(has_run: bool) -> type[TrainConfig]:
    """TrainConfig without what resume does not accept, for the help; given all the same it is refused."""
    as_it_is: Any = None if has_run else tyro.conf.arg(help_behavior_hint="(as the run has it)")
    hints = typing.get_type_hints(TrainConfig, include_extras=True)
    marked: list[tuple[str, Any, Any]] = []
    for option in dataclasses.fields(TrainConfig):
        is_fixed = options_of(TrainConfig)[option.name].on_resume is OnResume.FIXED
        mark = tyro.conf.Suppress if is_fixed or option.name == "run_dir" else as_it_is
        if mark is not None:
            default: Any = {"default": option.default, "default_factory": option.default_factory}
            marked.append((option.name, Annotated[hints[option.name], mark], dataclasses.field(**default)))
    text = "What cannot change the result may be changed, and limits may be raised."
    return dataclasses.make_dataclass(
        "Resumable", marked, bases=(TrainConfig,), frozen=True, namespace={"__doc__": text}
    )
