"""Who does which task: a pure state machine, with events in and commands out.

It knows no clock, no process and no Ray, so that it can be driven through any order of events, by thousands
of simulated runners. What it decides changes how long an iteration takes and never what it yields: a task is
a pure function of its weights and episode numbers, and answers are put back in the order of the tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from distpg.env_runners import Task

RunnerId = int

# A call costs about a millisecond whatever is in it. Tasks travel together until a call has this much work.
_SECONDS_PER_CALL = 0.02
_WEIGHT_OF_NEW_TIMING = 0.3


@dataclass(frozen=True)
class Joined:
    """A runner is ready for work."""

    runner: RunnerId


@dataclass(frozen=True)
class Answered:
    """A runner finished all tasks of its call, in this many seconds."""

    runner: RunnerId
    seconds: float


@dataclass(frozen=True)
class Died:
    """A runner is gone, and with it whatever it was working on."""

    runner: RunnerId


Event = Joined | Answered | Died


@dataclass(frozen=True)
class Send:
    """Give these tasks to an idle runner, in one call."""

    runner: RunnerId
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Replace:
    """Start a new runner in the place of a dead one."""

    runner: RunnerId


Command = Send | Replace


@dataclass
class Dispatcher:
    """Hands tasks to runners until each task is answered once."""

    _pending: deque[Task] = field(default_factory=deque)
    _working: dict[RunnerId, tuple[Task, ...]] = field(default_factory=dict)
    # A dictionary without values: a set that keeps the order in which runners became idle.
    _idle: dict[RunnerId, None] = field(default_factory=dict)
    _seconds_per_task: float | None = None

    @property
    def runners(self) -> frozenset[RunnerId]:
        """Runners alive and ready, working or idle."""
        return frozenset(self._working) | frozenset(self._idle)

    @property
    def done(self) -> bool:
        """Whether every task was answered."""
        return not self._pending and not self._working

    def add(self, tasks: Iterable[Task]) -> list[Command]:
        """Take on more tasks; earlier ones are handed out first."""
        self._pending.extend(tasks)
        return self._hand_out()

    def handle(self, event: Event) -> list[Command]:
        """What to do now that this has happened. Events of runners already gone change nothing."""
        commands: list[Command] = []
        if isinstance(event, Joined):
            self._idle[event.runner] = None
        elif event.runner not in self.runners:
            return []
        elif isinstance(event, Answered):
            self._note_timing(event.seconds, len(self._working.pop(event.runner)))
            self._idle[event.runner] = None
        else:
            self._idle.pop(event.runner, None)
            # The oldest work first: the iteration waits for it.
            self._pending.extendleft(reversed(self._working.pop(event.runner, ())))
            commands.append(Replace(event.runner))
        return commands + self._hand_out()

    def _note_timing(self, seconds: float, num_tasks: int) -> None:
        measured = seconds / num_tasks
        if self._seconds_per_task is None:
            self._seconds_per_task = measured
        self._seconds_per_task += _WEIGHT_OF_NEW_TIMING * (measured - self._seconds_per_task)

    def _hand_out(self) -> list[Command]:
        commands: list[Command] = []
        # At the start of an iteration everyone is idle and the tasks are split evenly. Later the busy ones
        # will ask too: nobody may run dry beside a runner that holds a list of tasks.
        busy = len(self._working)
        while self._pending and self._idle:
            share = -(-len(self._pending) // (len(self._idle) + busy))
            count = min(share, self._tasks_per_call())
            tasks = tuple(self._pending.popleft() for _ in range(count))
            runner = next(iter(self._idle))
            del self._idle[runner]
            self._working[runner] = tasks
            commands.append(Send(runner, tasks))
        return commands

    def _tasks_per_call(self) -> int:
        if self._seconds_per_task is None:
            return 1
        return max(1, int(_SECONDS_PER_CALL / max(self._seconds_per_task, 1e-6)))
