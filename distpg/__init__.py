"""Distributed policy gradients: the same seed gives bit-identical weights at any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distpg.numerics import pin_numerics
from distpg.version import __version__

pin_numerics()

if TYPE_CHECKING:
    from distpg.config import TrainConfig as TrainConfig
    from distpg.trainer import Result as Result
    from distpg.trainer import train as train


__all__ = ["Result", "TrainConfig", "__version__", "train"]


def __getattr__(name: str) -> Any:
    # Importing distpg loads neither Ray nor torch: each public name is loaded when it is first used.
    if name == "TrainConfig":
        from distpg.config import TrainConfig

        return TrainConfig
    if name in ("train", "Result"):
        from distpg import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module 'distpg' has no attribute {name!r}")
