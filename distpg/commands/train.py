"""``distpg train``."""

from dataclasses import dataclass, field
from typing import Literal

import tyro

from distpg.commands.display import follow
from distpg.commands.options import Verbosity
from distpg.commands.parser import parse
from distpg.config.files import load_config_file, preset
from distpg.config.train_config import TrainConfig
from distpg.system.garbage import load


@dataclass(frozen=True)
class Origin:
    """Options that are read before the others, since they change their defaults."""

    preset: Literal["article", "cartpole"] | None = None
    """Start from the article's experiment, or from the defaults by their name"""
    config: str | None = None
    """YAML file of options, or a run's config.json, over the preset; options given here override both"""


@dataclass(frozen=True)
class TrainOptions(Verbosity, Origin):
    """Train a policy on complete episodes, until it is solved or a limit is reached."""

    training: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def run(arguments: list[str]) -> int:
    """Train over a preset and a config file, if they are named, and show the course and the outcome."""
    origin = parse(Origin(), "distpg train", arguments, ignore_others=True)
    base = None if origin.preset is None else preset(origin.preset)
    if origin.config is not None:
        base = load_config_file(origin.config, base)
    options = parse(TrainOptions(training=base or TrainConfig()), "distpg train", arguments)

    load("distpg.training.trainer")
    from distpg.training.trainer import train

    follow(options.quiet, lambda listeners: train(options.training, listeners))
    return 0
