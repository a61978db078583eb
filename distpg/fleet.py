"""The runners of a group, as the dispatcher sees them: who starts, who is ready, who works, who is overdue.

Pure bookkeeping in a time that is given from outside; it starts and ends nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from distpg.env_runners import Task
from distpg.messages import RunnerId

_FIRST_BACK_OFF_S = 0.1
_LONGEST_BACK_OFF_S = 2.0
# So many runners in a row that end before they are ready, while none works, are no accident: fewer where no
# runner was ever ready, for then it is the environment or the installation.
_HOPELESS_FIRST_STARTS = 5
_HOPELESS_STARTS = 20
# Nobody listened for so long, as a share of the time after which a runner is silent.
_AWAY_AFTER = 0.5
_WEIGHT_OF_NEW_RATE = 0.3


@dataclass
class Runner:
    """One runner. Times are in seconds.

    Attributes:
        tasks: What it works on, in one call.
        since: When it was started, or placed, or its call was sent.
        progressed: When it last showed a new step, or began something.
        asked: When it was last asked how far it is; unanswered_since: when first, if no answer came yet.
        heard: When it last said so, and steps: how many it said, of its call.
        rate: Environment steps per second over its past calls.
        episodes: Played since it was started.
    """

    number: RunnerId
    since: float
    progressed: float
    asked: float
    heard: float
    unanswered_since: float | None = None
    is_placed: bool = True
    is_ready: bool = False
    tasks: tuple[Task, ...] = ()
    steps: int = 0
    rate: float | None = None
    episodes: int = 0

    def ask(self, now: float) -> None:
        """It is asked how far it is."""
        self.asked = now
        if self.unanswered_since is None:
            self.unanswered_since = now

    @property
    def rate_of_call(self) -> float | None:
        """Steps per second that it has shown of its present call; None before it said anything."""
        return self.steps / (self.heard - self.since) if self.heard > self.since else None


@dataclass
class Fleet:
    """All runners that were started and are not gone."""

    size: int
    silent_after_s: float
    start_timeout_s: float
    waits_for_room: bool = False
    runners: dict[RunnerId, Runner] = field(default_factory=dict)
    # A dictionary without values: a set that keeps the order in which runners became idle.
    idle: dict[RunnerId, None] = field(default_factory=dict)
    rate: float | None = None
    """Environment steps per second of a runner, over all of them."""
    num_ready: int = 0
    """Runners that are idle or work."""
    _next_id: RunnerId = 0
    _any_joined: bool = False
    _failed_starts: int = 0
    _next_start: float = 0.0
    _now: float = 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether runners only ever end before they are ready."""
        limit = _HOPELESS_STARTS if self._any_joined else _HOPELESS_FIRST_STARTS
        return self._failed_starts >= max(limit, self.size) and self.num_ready == 0

    @property
    def working(self) -> Iterator[Runner]:
        """Those with a call, the oldest runner first."""
        return (runner for runner in self.runners.values() if runner.tasks)

    @property
    def best_idle(self) -> RunnerId:
        """The one that is idle longest, of those that answered when asked, if there are any."""
        answering = (number for number in self.idle if self.runners[number].unanswered_since is None)
        return next(answering, next(iter(self.idle)))

    def start_missing(self, now: float) -> list[Runner]:
        """New runners for those that are missing, if the back-off allows."""
        started = []
        while len(self.runners) < self.size and now >= self._next_start:
            runner = Runner(self._next_id, now, now, now, now, is_placed=not self.waits_for_room)
            self._next_id += 1
            self.runners[runner.number] = runner
            started.append(runner)
        return started

    def place(self, number: RunnerId, now: float) -> None:
        """A runner has its process: from now on it is expected to become ready."""
        runner = self.runners[number]
        if not runner.is_placed:
            runner.is_placed, runner.since = True, now

    def join(self, number: RunnerId, now: float) -> None:
        """A runner is ready."""
        runner = self.runners[number]
        runner.is_ready = True
        runner.progressed = now
        self.num_ready += 1
        self.idle[number] = None
        self._failed_starts = 0
        self._any_joined = True

    def assign(self, number: RunnerId, tasks: tuple[Task, ...], now: float) -> None:
        """An idle runner gets a call."""
        del self.idle[number]
        runner = self.runners[number]
        runner.tasks, runner.steps = tasks, 0
        runner.since = runner.progressed = runner.asked = runner.heard = now
        runner.unanswered_since = None

    def finish(self, number: RunnerId, seconds: float, steps: int, now: float) -> tuple[Task, ...]:
        """A call came back; its tasks."""
        runner = self.runners[number]
        tasks, runner.tasks = runner.tasks, ()
        runner.progressed = now
        runner.episodes += sum(task.num_episodes for task in tasks)
        if steps and seconds > 0:
            runner.rate = _mixed(runner.rate, steps / seconds)
            self.rate = _mixed(self.rate, steps / seconds)
        runner.unanswered_since = None
        self.idle[number] = None
        return tasks

    def remove(self, number: RunnerId, now: float) -> Runner:
        """A runner is gone.

        One that ends before its first answer may do so again and again: others wait for a while.
        """
        runner = self.runners.pop(number)
        self.idle.pop(number, None)
        self.num_ready -= runner.is_ready
        if runner.episodes == 0:
            self._failed_starts += 1
            wait = min(_FIRST_BACK_OFF_S * 2.0**self._failed_starts, _LONGEST_BACK_OFF_S)
            self._next_start = max(self._next_start, now + wait)
        return runner

    def hear(self, number: RunnerId, steps: int, now: float) -> None:
        """A sign of life: the steps of its call so far."""
        runner = self.runners[number]
        if runner.tasks and steps <= 0:
            return  # it was asked during the call before, or has made no step yet: that is no news
        runner.heard, runner.unanswered_since = now, None
        if steps > runner.steps:
            runner.steps, runner.progressed = steps, now

    def tick(self, now: float) -> None:
        """Time passes. Time in which nobody listened is nobody's silence."""
        away = now - self._now
        self._now = now
        if away > _AWAY_AFTER * min(self.silent_after_s, self.start_timeout_s):
            for runner in self.runners.values():
                runner.progressed += away
                if runner.unanswered_since is not None:
                    runner.unanswered_since += away
                if not runner.is_ready:
                    runner.since += away

    def overdue(self, now: float) -> list[Runner]:
        """Runners that make no step, do not answer, or take too long to start."""
        return [
            runner
            for runner in self.runners.values()
            if (runner.tasks and now - runner.progressed > self.silent_after_s)
            or (not runner.tasks and now - (runner.unanswered_since or now) > self.silent_after_s)
            or (runner.is_placed and not runner.is_ready and now - runner.since > self.start_timeout_s)
        ]


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT_OF_NEW_RATE * (new - old)
