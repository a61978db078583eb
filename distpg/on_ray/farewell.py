"""How actors end: they may release their environments, for a few seconds; then they are killed."""

import contextlib
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from distpg.environments.envs import CLOSE_S


def close_actors(actors: Sequence[Any]) -> str | None:
    """Let runners that are ready, or play their last steps, close; what went wrong with one of them."""
    closing = [actor.close.remote() for actor in actors]
    complaint: str | None = None
    with contextlib.suppress(RayError, ConnectionError):  # of runners, or a cluster, that are gone
        closed = ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)[0] if closing else []
        if len(closed) < len(closing):
            complaint = f"an environment could not be closed within {CLOSE_S:g} s"
        for reference in closed:
            with contextlib.suppress(RayError):
                complaint = ray.get(reference) or complaint
    return complaint


class Retired:
    """Actors that release their environments and end by themselves, which nobody waits for."""

    def __init__(self) -> None:
        self._actors: dict[Any, Any] = {}

    def add(self, actor: Any) -> None:
        """Let one more end, once it has done what it was asked before."""
        waiting = [*self._actors]
        for gone in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []:
            del self._actors[gone]
        actor.close.remote()
        self._actors[actor.__ray_terminate__.remote()] = actor

    def kill(self) -> None:
        """End those that have not."""
        for actor in self._actors.values():
            ray.kill(actor)
