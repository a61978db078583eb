"""Options that several commands share."""

from dataclasses import dataclass, field
from typing import Any

import tyro


@dataclass(frozen=True)
class Verbosity:
    """Options of every command."""

    quiet: bool = False
    """Print nothing but errors"""
    debug: bool = False
    """Show the traceback of an error"""


@dataclass(frozen=True)
class RunOptions(Verbosity):
    """Options of commands that work on a run."""

    run: tyro.conf.Positional[str] = ""
    """Run directory"""


@dataclass(frozen=True)
class EnvOptions(Verbosity):
    """Options of commands that work on an environment."""

    env_id: str | None = None
    """Gymnasium environment id, or module:EnvId for one of your own"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON"""
    max_episode_steps: int | None = None
    """Time limit: truncate episodes at this many steps; default: the environment's own limit"""
