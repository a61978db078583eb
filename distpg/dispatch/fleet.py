"""The runners of a group, as the dispatcher sees them: who starts, who is ready, who works, who is overdue.

Pure bookkeeping in a time that is given from outside; it starts and ends nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from distpg.core.tasks import Task
from distpg.dispatch.messages import RunnerId

_FIRST_BACK_OFF_S = 0.1
_LONGEST_BACK_OFF_S = 2.0
# So many runners in a row that end before they are ready, while none works, are no accident: fewer where no
# runner was ever ready, for then it is the environment or the installation.
_HOPELESS_FIRST_STARTS = 5
_HOPELESS_STARTS = 20
# Nobody listened for so long, as a share of the time after which a runner is silent.
_AWAY_AFTER = 0.5
# Of a new measurement, beside all before it.
_WEIGHT = 0.3
# A call that lasts so many times as long as expected, and so long, is looked into: its runner may be slow.
_SUSPICIOUS_TIMES = 1.5
_SUSPICIOUS_S = 0.1
# A runner below this share of the common rate is slow, and so is one that keeps quiet for so long.
_SLOW = 0.5
_QUIET_S = 1.0
# A working runner is asked how far it is after this share of the time that makes it silent, or of its call.
_ASK_AFTER = 0.25


@dataclass
class Runner:
    """One runner. Times are in seconds.

    Attributes:
        tasks: What it works on, in one call; next_tasks: of the call that waits behind that one.
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
    next_tasks: tuple[Task, ...] = ()
    next_is_withdrawn: bool = False
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
    # Dictionaries without values: sets that keep the order in which runners became so.
    idle: dict[RunnerId, None] = field(default_factory=dict)
    with_room: dict[RunnerId, None] = field(default_factory=dict)
    """Runners that work, and may have another call wait behind this one."""
    with_next: dict[RunnerId, None] = field(default_factory=dict)
    """Runners whose next call waits, and was not withdrawn."""
    rate: float | None = None
    """Environment steps per second of a runner, over all of them."""
    seconds_per_task: float | None = None
    """Of a runner, over all of them; None before the first answer."""
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

    def assign(self, number: RunnerId, tasks: tuple[Task, ...], now: float, is_alone: bool = False) -> None:
        """An idle runner gets a call, behind which nothing waits if it is to be alone."""
        del self.idle[number]
        self._begin(self.runners[number], tasks, now)
        if not is_alone:
            self.with_room[number] = None

    def assign_next(self, number: RunnerId, tasks: tuple[Task, ...]) -> None:
        """A runner with room gets a call for when it has finished."""
        del self.with_room[number]
        self.with_next[number] = None
        self.runners[number].next_tasks = tasks

    def withdraw_next(self, number: RunnerId) -> tuple[Task, ...]:
        """The tasks of the call that waits are for others now. It stays in its place until it comes back."""
        del self.with_next[number]
        self.runners[number].next_is_withdrawn = True
        return self.runners[number].next_tasks

    def finish(self, number: RunnerId, now: float) -> tuple[Task, ...]:
        """A call came back; its tasks. The one that waited behind it has begun."""
        runner = self.runners[number]
        tasks, following, is_withdrawn = runner.tasks, runner.next_tasks, runner.next_is_withdrawn
        runner.tasks, runner.next_tasks, runner.next_is_withdrawn = (), (), False
        self.with_next.pop(number, None)
        self.with_room.pop(number, None)
        if following:
            self._begin(runner, following, now)
            if not is_withdrawn:
                self.with_room[number] = None
        else:
            runner.progressed, runner.unanswered_since = now, None
            self.idle[number] = None
        return tasks

    def _begin(self, runner: Runner, tasks: tuple[Task, ...], now: float) -> None:
        runner.tasks, runner.steps = tasks, 0
        runner.since = runner.progressed = runner.asked = runner.heard = now
        runner.unanswered_since = None

    def note(self, number: RunnerId, tasks: tuple[Task, ...], seconds: float, steps: int) -> None:
        """A runner did these in so many seconds and environment steps."""
        runner = self.runners[number]
        runner.episodes += sum(task.num_episodes for task in tasks)
        self.seconds_per_task = _mixed(self.seconds_per_task, seconds / len(tasks))
        if steps and seconds > 0:
            runner.rate = _mixed(runner.rate, steps / seconds)
            self.rate = _mixed(self.rate, steps / seconds)

    def remove(self, number: RunnerId, now: float) -> Runner:
        """A runner is gone.

        One that ends before its first answer may do so again and again: others wait for a while.
        """
        runner = self.runners.pop(number)
        for numbers in (self.idle, self.with_room, self.with_next):
            numbers.pop(number, None)
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

    def is_slow(self, runner: Runner, now: float) -> bool:
        """Whether a runner that works is, or has gone quiet, so that others should do its tasks too."""
        if self.rate is None:
            return False
        is_long = self._expected(runner) > _SUSPICIOUS_S / 4
        if runner.rate is not None and runner.rate < _SLOW * self.rate and is_long:
            return True
        if not self.is_suspicious(runner, now):
            return False
        if runner.unanswered_since is not None and now - runner.unanswered_since > _QUIET_S:
            return True
        rate = runner.rate_of_call
        return rate is not None and rate < _SLOW * self.rate

    def is_suspicious(self, runner: Runner, now: float) -> bool:
        """Whether its call lasts longer than it should."""
        return now - runner.since > max(_SUSPICIOUS_S, _SUSPICIOUS_TIMES * self._expected(runner))

    def should_be_asked(self, runner: Runner, now: float, suspicious_ones: bool) -> bool:
        """Whether it is time for its heartbeat: of everyone now and then, of the suspicious sooner."""
        quiet = now - max(runner.asked, runner.since)
        if quiet > _ASK_AFTER * self.silent_after_s:
            return True
        is_due = quiet > max(_SUSPICIOUS_S, _ASK_AFTER * (now - runner.since))
        return suspicious_ones and is_due and self.is_suspicious(runner, now)

    def _expected(self, runner: Runner) -> float:
        return (self.seconds_per_task or 0.0) * len(runner.tasks)


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)
