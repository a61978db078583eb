"""Distributed policy gradients: the same seed gives bit-identical weights at any number of workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distpg.system.numerics import pin_numerics
from distpg.system.version import __version__

pin_numerics()

if TYPE_CHECKING:
    from distpg.config.train_config import TrainConfig as TrainConfig
    from distpg.core.episodes import EpisodeBatch as EpisodeBatch
    from distpg.core.policies import Weights as Weights
    from distpg.core.policies import weights_digest as weights_digest
    from distpg.environments.compiled import CompiledEnvironment as CompiledEnvironment
    from distpg.runs.results import Result as Result
    from distpg.training.evaluation import evaluate as evaluate
    from distpg.training.policy import Policy as Policy
    from distpg.training.policy import load_policy as load_policy
    from distpg.training.replay import replay as replay
    from distpg.training.resume import resume as resume
    from distpg.training.rollouts import Rollouts as Rollouts
    from distpg.training.start import rollouts as rollouts
    from distpg.training.trainer import train as train

_PUBLIC = {
    "CompiledEnvironment": "distpg.environments.compiled",
    "EpisodeBatch": "distpg.core.episodes",
    "Policy": "distpg.training.policy",
    "Result": "distpg.runs.results",
    "Rollouts": "distpg.training.rollouts",
    "TrainConfig": "distpg.config.train_config",
    "Weights": "distpg.core.policies",
    "evaluate": "distpg.training.evaluation",
    "load_policy": "distpg.training.policy",
    "replay": "distpg.training.replay",
    "resume": "distpg.training.resume",
    "rollouts": "distpg.training.start",
    "train": "distpg.training.trainer",
    "weights_digest": "distpg.core.policies",
}
__all__ = [
    "CompiledEnvironment",
    "EpisodeBatch",
    "Policy",
    "Result",
    "Rollouts",
    "TrainConfig",
    "Weights",
    "__version__",
    "evaluate",
    "load_policy",
    "replay",
    "resume",
    "rollouts",
    "train",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    # Importing distpg loads neither Ray nor torch: each public name is loaded when it is first used.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'distpg' has no attribute {name!r}")
