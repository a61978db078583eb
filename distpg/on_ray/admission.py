"""Whether a runner that wants to join plays what the others play."""

from typing import Literal

from distpg.core.events import NotReproducible, OnEvent
from distpg.on_ray.introduction import Introduction
from distpg.sampling.fingerprint import numerics_digest
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.system.numerics import runner_environment, was_pinned_late
from distpg.system.version import __version__

# A trial that takes longer is not repeated without need.
_DEAR_S = 5.0


class Admission:
    """Compares runners, as they join, with this process and with the first of them."""

    def __init__(self, spec: EnvRunnerSpec, is_reproducible: bool, on_event: OnEvent) -> None:
        self._spec = spec
        self._is_reproducible = is_reproducible
        self._on_event = on_event
        self._numerics = ""
        # What environments should play; the trials of each runner.
        self._environment: str | None = None
        self._trials: dict[int, list[str]] = {}

    def prepare(self) -> None:
        """Before a runner is asked to join: what this process compiles for it, runners find compiled."""
        self._numerics = self._numerics or numerics_digest(self._spec)

    def difference(self, number: int, introduction: Introduction) -> str | Literal[False] | None:
        """What makes a runner's episodes other than those of this process and the other runners.

        None: nothing; False: it is not known yet, the runner has to introduce itself once more.
        """
        numerics = introduction.numerics
        if numerics != self._numerics and was_pinned_late():
            # Not the runners' fault: they agree with one another, and with processes that begin with distpg.
            self._numerics = numerics
            why = "NumPy or torch was imported before distpg, which pins their arithmetic"
            self._on_event(NotReproducible(why))
        if introduction.distpg != __version__:
            return f"it has distpg {introduction.distpg}, this process {__version__}"
        for name, value in runner_environment().items():
            if introduction.variables[name] != value:
                return f"its process has {name}={introduction.variables[name]}, not {value}"
        if numerics != self._numerics:
            return "its arithmetic differs from this process's: another kind of CPU, or other versions"
        if not self._is_reproducible:
            return None
        return self._difference_of_environment(number, introduction)

    def _difference_of_environment(
        self, number: int, introduction: Introduction
    ) -> str | Literal[False] | None:
        played, is_dear = introduction.environment, introduction.seconds > _DEAR_S
        others = [trials[0] for other, trials in self._trials.items() if other != number]
        trials = self._trials.setdefault(number, [])
        # What was played twice is what it plays: by this runner, or by two of them.
        is_known = played in trials or played == self._environment or (not trials and played in others)
        trials.append(played)
        if not is_known and not (self._environment is None and is_dear):
            if len(trials) < 3:  # an exception that comes once is no more than that: two of three decide
                return False
            self._is_reproducible = False
            self._on_event(NotReproducible("the environment plays differently each time"))
            return None
        if self._environment is None:
            self._environment = played
        if played != self._environment:
            return "its environment plays differently from the first runner's: other versions or data"
        return None
