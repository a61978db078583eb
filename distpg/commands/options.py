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
    """Gymnasium environment id, module:EnvId, or module:factory"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON"""
    env_number_kwarg: str | None = None
    """Keyword argument that gets a number of its own in each environment: for ports, displays, files"""
    wrappers: tuple[str, ...] = ()
    """Functions module:name from an environment to another, the innermost first"""
    drop_observations: tuple[str, ...] = ()
    """Parts of a Dict observation that the policy does not see"""
    max_episode_steps: int | None = None
    """Time limit: truncate episodes at this many steps; default: the environment's own limit"""
