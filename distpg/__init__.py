"""Distributed policy gradients: the same seed gives bit-identical weights at any number of workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distpg.system.numerics import pin_numerics
from distpg.system.version import __version__

pin_numerics()

if TYPE_CHECKING:
    from distpg.config.train_config import TrainConfig as TrainConfig
    from distpg.runs.results import Result as Result
    from distpg.training.policy import Policy as Policy
    from distpg.training.policy import load_policy as load_policy
    from distpg.training.trainer import resume as resume
    from distpg.training.trainer import train as train

_PUBLIC = {
    "Policy": "distpg.training.policy",
    "Result": "distpg.runs.results",
    "TrainConfig": "distpg.config.train_config",
    "load_policy": "distpg.training.policy",
    "resume": "distpg.training.trainer",
    "train": "distpg.training.trainer",
}
__all__ = ["Policy", "Result", "TrainConfig", "__version__", "load_policy", "resume", "train"]


def __getattr__(name: str) -> Any:
    # Importing distpg loads neither Ray nor torch: each public name is loaded when it is first used.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'distpg' has no attribute {name!r}")
