"""Distributed policy gradients: the same seed gives bit-identical weights at any number of workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distpg.numerics import pin_numerics
from distpg.version import __version__

pin_numerics()

if TYPE_CHECKING:
    from distpg.config import TrainConfig as TrainConfig
    from distpg.evaluation import Policy as Policy
    from distpg.evaluation import load_policy as load_policy
    from distpg.results import Result as Result
    from distpg.trainer import resume as resume
    from distpg.trainer import train as train

_PUBLIC = {
    "Policy": "distpg.evaluation",
    "Result": "distpg.results",
    "TrainConfig": "distpg.config",
    "load_policy": "distpg.evaluation",
    "resume": "distpg.trainer",
    "train": "distpg.trainer",
}
__all__ = ["Policy", "Result", "TrainConfig", "__version__", "load_policy", "resume", "train"]


def __getattr__(name: str) -> Any:
    # Importing distpg loads neither Ray nor torch: each public name is loaded when it is first used.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'distpg' has no attribute {name!r}")
