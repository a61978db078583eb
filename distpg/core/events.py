"""Everything that can happen to a run beside training; ``EVENTS`` lists it."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from distpg.errors import shortened


@dataclass(frozen=True)
class Event:
    """One event."""

    kind: ClassVar[str]
    """Its name in events.jsonl."""
    is_routine: ClassVar[bool] = False
    """Whether it is of no interest to whoever watches."""
    speaks_against: ClassVar[bool] = False
    """Whether the run is not reproducible because of it."""

    def __init_subclass__(cls, kind: str | None = None) -> None:
        cls.kind = kind or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def why_not(self) -> str | None:
        """Why the run is not reproducible because of this; None where it is as before."""
        return str(vars(self)["why"]) if self.speaks_against else None

    def record(self) -> dict[str, Any]:
        """As events.jsonl holds it, but for the time."""
        return {"event": self.kind, **asdict(self)}

    def __str__(self) -> str:
        """In one line for people: its kind, then what is known of it."""
        details = ", ".join(
            f"{key.replace('_', ' ')} {_shortened(value)}" for key, value in vars(self).items() if value != ()
        )
        return f"{self.kind.replace('_', ' ')}: {details}"


def _shortened(value: object) -> object:
    """A long text by its beginning, a long list by its ends: a call may hold hundreds of tasks."""
    if isinstance(value, str):
        return shortened(value)
    if not isinstance(value, tuple):
        return value
    return list(value) if len(value) <= 4 else f"[{value[0]}, {value[1]}, … {value[-1]}]"


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class EnvRunnerJoined(Event):
    """A runner is ready."""

    is_routine = True
    env_runner: int


@dataclass(frozen=True)
class EnvRunnerRefused(Event):
    """A runner that is not as the others was sent away, or could not start; another one is started."""

    env_runner: int
    why: str


@dataclass(frozen=True)
class EnvRunnerMixed(Event):
    """A runner that is not as the others is used all the same (``--allow-mixed``)."""

    speaks_against = True
    env_runner: int
    why: str


@dataclass(frozen=True)
class EnvRunnerNotStarted(Event):
    """A runner was not ready in time (``--env-start-timeout-s``), and is replaced."""

    env_runner: int
    first_episodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class EnvRunnerDied(Event):
    """A runner's process is gone; its tasks, which begin with these episodes, go to others."""

    env_runner: int
    first_episodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class EnvRunnerSilent(Event):
    """A runner made no step for ``--sample-timeout-s``, and is replaced."""

    env_runner: int
    first_episodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class EnvRunnerRecycled(Event):
    """A runner has played ``--recycle-runner-after`` episodes, and is replaced."""

    env_runner: int
    first_episodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class TasksHedged(Event):
    """A slow runner's tasks were given to this one too: whoever is first counts."""

    env_runner: int
    first_episodes: tuple[int, ...]


@dataclass(frozen=True)
class TaskSearched(Event):
    """Runners of a task died again and again: its episodes are played singly, to find the one that kills."""

    first_episode: int
    num_episodes: int


@dataclass(frozen=True)
class EpisodeTriedElsewhere(Event):
    """The environment failed in an episode, which another runner tries."""

    episode: int
    env_runner: int
    why: str


@dataclass(frozen=True)
class EpisodeFailed(Event):
    """The environment failed in an episode wherever it was played: the run ends."""

    episode: int
    why: str


@dataclass(frozen=True)
class AnswersDiffer(Event):
    """A task that was played twice gave two results."""

    speaks_against = True
    first_episode: int
    env_runners: tuple[int, ...]
    why: str


@dataclass(frozen=True)
class NotReproducible(Event):
    """The same configuration and seed need not give the same weights again."""

    speaks_against = True
    why: str


@dataclass(frozen=True)
class EnvNotChecked(Event):
    """Whether the environment is reproducible could not be found out."""

    why: str


@dataclass(frozen=True)
class TrainingStalled(Event):
    """The weights do not change any more, or not for the better, before the goal is reached."""

    why: str
    hint: str


@dataclass(frozen=True)
class CheckpointDamaged(Event):
    """A checkpoint was passed over for an older one."""

    why: str


@dataclass(frozen=True)
class LogsIncomplete(Event):
    """A log has lost what it said of these iterations; training goes on from its checkpoint all the same."""

    file: str
    iterations: str

    def __str__(self) -> str:
        """In one line for people."""
        lost = f"{self.file} has lost what it said of iterations {self.iterations}"
        return f"logs incomplete: {lost}; training goes on from its checkpoint, figures have a gap"


@dataclass(frozen=True)
class RunResumed(Event):
    """A run goes on after this many iterations."""

    iterations: int


@dataclass(frozen=True)
class RunFinishedAlready(Event):
    """A run that was to be resumed has nothing left to do; what to type to go on."""

    iterations: int
    to_go_on: str


@dataclass(frozen=True)
class Compiling(Event):
    """What plays the episodes is compiled, which takes some 15 seconds, and kept for the next start."""

    env_id: str


@dataclass(frozen=True)
class Advice(Event, kind="warning"):
    """Something works, but could do better."""

    why: str
    hint: str


EVENTS: tuple[type[Event], ...] = tuple(Event.__subclasses__())
AGAINST_REPRODUCIBLE = frozenset(event.kind for event in EVENTS if event.speaks_against)
