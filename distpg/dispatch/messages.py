"""What the dispatcher is told (reports), what it orders (commands), and the rules it goes by: plain data."""

from dataclasses import dataclass
from typing import Literal

from distpg.core.tasks import Task

RunnerId = int


@dataclass(frozen=True)
class Added:
    """The tasks of an iteration, to be done after those added before; the audited ones by two runners.

    Questions come before all that is to be played. ``owners`` are, task by task, the runners that need not
    play to answer: while such a one lives and is not slow, no other gets the task first. None, or one that is
    gone: any may. Empty: all are None.
    """

    tasks: tuple[Task, ...]
    audited: tuple[Task, ...] = ()
    owners: tuple[RunnerId | None, ...] = ()


@dataclass(frozen=True)
class Grown:
    """There is room for this many runners. If that is fewer than before, lost machines may come back."""

    num_runners: int


@dataclass(frozen=True)
class Placed:
    """A runner that was started has its CPUs and its process; before, it may have waited for room."""

    runner: RunnerId


@dataclass(frozen=True)
class Joined:
    """A runner is ready for work."""

    runner: RunnerId


@dataclass(frozen=True)
class Answered:
    """A runner did all tasks of its call in so many seconds and environment steps.

    ``digests`` are of its answers, in the order of the tasks; None where an environment failed.
    """

    runner: RunnerId
    seconds: float
    steps: int
    digests: tuple[str | None, ...]


@dataclass(frozen=True)
class Skipped:
    """A runner left out a call that was withdrawn."""

    runner: RunnerId


@dataclass(frozen=True)
class Heard:
    """A runner says how many steps of its call it has made, or on its way to become ready."""

    runner: RunnerId
    steps: int


@dataclass(frozen=True)
class Died:
    """A runner is gone, and with it whatever it was working on."""

    runner: RunnerId


@dataclass(frozen=True)
class TimePassed:
    """Nothing happened."""


Report = Added | Grown | Placed | Joined | Answered | Skipped | Heard | Died | TimePassed


@dataclass(frozen=True)
class Start:
    """Start a runner with this number."""

    runner: RunnerId


@dataclass(frozen=True)
class Join:
    """Let a runner that has its process become ready for work."""

    runner: RunnerId


@dataclass(frozen=True)
class Stop:
    """End a runner, whatever it does."""

    runner: RunnerId
    why: Literal["silent", "not started", "recycled"]


@dataclass(frozen=True)
class Send:
    """Give these tasks to a runner, in one call: an idle one, or ahead of time one that works still."""

    runner: RunnerId
    tasks: tuple[Task, ...]
    why: Literal["new", "ahead", "hedge", "elsewhere"] = "new"


@dataclass(frozen=True)
class Withdraw:
    """Another runner does the tasks that this one was given ahead of time: it need not begin with them."""

    runner: RunnerId


@dataclass(frozen=True)
class Ask:
    """Ask a runner how far it is."""

    runner: RunnerId


@dataclass(frozen=True)
class Accept:
    """The answer just given to this task is the one that counts."""

    task: Task


@dataclass(frozen=True)
class Differ:
    """Two runners gave different answers to one task."""

    task: Task
    runners: tuple[RunnerId, RunnerId]


@dataclass(frozen=True)
class Search:
    """A task killed so many runners that its episodes are played one by one, to find the one that kills."""

    task: Task


@dataclass(frozen=True)
class GiveUp:
    """The work cannot be done: an episode fails or kills wherever it is played, or no runner starts."""

    task: Task | None
    why: Literal["failed", "died", "no runner starts"]


Command = Start | Join | Stop | Send | Withdraw | Ask | Accept | Differ | Search | GiveUp


@dataclass(frozen=True)
class Rules:
    """What the dispatcher goes by; times in seconds.

    Attributes:
        waits_for_room: Whether a runner may wait for its CPUs, for as long as it takes a cluster to grow.
        starts_at_once: Runners that become ready at the same time, the others after them: each slows down the
            others. None: all.
        max_task_retries: Runners that a task may kill before its episodes are played one by one.
        recycle_after: Episodes after which a runner is replaced.
    """

    num_runners: int = 1
    silent_after_s: float = 20.0
    start_timeout_s: float = 60.0
    waits_for_room: bool = False
    starts_at_once: int | None = None
    max_task_retries: int = 3
    recycle_after: int | None = None
