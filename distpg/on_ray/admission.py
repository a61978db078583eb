"""Whether a runner that wants to join plays what the others play."""

from distpg.core.events import NotReproducible, OnEvent
from distpg.core.policies import PolicySpec
from distpg.on_ray.actor import Introduction
from distpg.sampling.fingerprint import numerics_digest
from distpg.system.numerics import was_pinned_late
from distpg.system.version import __version__


class Admission:
    """Compares runners, as they join, with this process and with the first of them."""

    def __init__(self, policy: PolicySpec, is_reproducible: bool, on_event: OnEvent) -> None:
        self._is_reproducible = is_reproducible
        self._on_event = on_event
        self._numerics = numerics_digest(policy)
        self._environment: str | None = None

    def difference(self, introduction: Introduction) -> str | None:
        """What makes a runner's episodes other than those of this process and the other runners."""
        version, numerics, environment, repeats = introduction
        if not repeats and self._is_reproducible:
            self._is_reproducible = False
            self._on_event(NotReproducible("the environment plays differently each time"))
        if numerics != self._numerics and was_pinned_late():
            # Not the runners' fault: they agree with one another, and with processes that begin with distpg.
            self._numerics = numerics
            why = "NumPy or torch was imported before distpg, which pins their arithmetic"
            self._on_event(NotReproducible(why))
        if version != __version__:
            return f"it has distpg {version}, this process {__version__}"
        if numerics != self._numerics:
            return "its arithmetic differs from this process's: another kind of CPU, or other versions"
        if self._environment is None:
            self._environment = environment
        if self._is_reproducible and environment != self._environment:
            return "its environment plays differently from the first runner's: other versions or data"
        return None
