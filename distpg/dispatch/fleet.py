"""The runners of a group, as the dispatcher sees them: the life of each, and who is overdue or slow.

Pure bookkeeping in a time that is given from outside; it starts and ends nothing itself.

| a runner that is | and                      | is then                                                  |
|------------------|--------------------------|----------------------------------------------------------|
| missing          | the back-off is over     | started; where none waits for room, when its turn comes  |
| started          | placed                   | told to join when its turn comes                         |
| on its turn      | it shows a new step      | on its turn, and its time to become ready begins anew    |
| on its turn      | joined                   | idle; the turn is the next one's                         |
| on its turn      | not ready in time        | overdue: "not started"                                   |
| idle             | assigned a call          | working, with room for another call behind it            |
| working          | assigned one more        | working, with a call that waits; others may take it over |
| working          | assigned one that it owns | working, with a call that waits; it stays there         |
| working          | its call comes back      | working on the call that waited; idle if none did        |
| working          | no new step for too long | overdue: "silent"                                        |
| idle             | asked, and no answer     | overdue: "silent"                                        |
| any              | removed                  | missing; one that never answered makes the others wait   |
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from distpg.core.tasks import Task
from distpg.dispatch.messages import Rules, RunnerId

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
# Asking takes time too: no more suspicious ones at once than this, where the dispatcher itself is slow.
_MOST_ASKED = 64
# A working runner is asked how far it is after this share of the time that makes it silent, or of its call.
_ASK_AFTER = 0.25


@dataclass
class Runner:
    """One runner. Times are in seconds.

    Attributes:
        tasks: What it works on, in one call; next_tasks: of the call that waits behind that one.
        since: When its turn to start came, or its process, or its call was sent.
        progressed: When it last showed a new step, or began something.
        asked: When it was last asked how far it is; unanswered_since: when first, if no answer came yet.
        heard: When it last said so, and steps: how many it said, of its call.
        rate: Environment steps per second over its past calls.
        episodes: Played since it was started, not counting what it played again to answer a question.
    """

    number: RunnerId
    since: float
    progressed: float
    asked: float
    heard: float
    unanswered_since: float | None = None
    has_turn: bool = False
    is_ready: bool = False
    tasks: tuple[Task, ...] = ()
    next_tasks: tuple[Task, ...] = ()
    next_is_withdrawn: bool = False
    steps: int = 0
    rate: float | None = None
    episodes: int = 0

    @property
    def rate_of_call(self) -> float | None:
        """Steps per second that it has shown of its present call; None before it said anything."""
        return self.steps / (self.heard - self.since) if self.heard > self.since else None


class Fleet:
    """All runners that were started and are not gone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._size = rules.num_runners
        self._runners: dict[RunnerId, Runner] = {}
        # Without values: sets that keep the order in which runners became so. The first of a plain dictionary
        # is found past the places of all that were taken from its front.
        self._idle: OrderedDict[RunnerId, None] = OrderedDict()
        self._with_room: OrderedDict[RunnerId, None] = OrderedDict()
        self._with_waiting: OrderedDict[RunnerId, None] = OrderedDict()
        # Over all runners: environment steps per second, and seconds a task takes.
        self._rate: float | None = None
        self._seconds_per_task: float | None = None
        self._num_ready = 0
        # Those that have their process and wait for their turn; how many are on their turn.
        self._placed: dict[RunnerId, None] = {}
        self._num_starting = 0
        self._next_id: RunnerId = 0
        self._any_joined = False
        self._failed_starts = 0
        self._next_start = 0.0
        self._now = 0.0

    # Questions.

    def __contains__(self, number: RunnerId) -> bool:
        return number in self._runners

    @property
    def size(self) -> int:
        """Runners that there should be."""
        return self._size

    @property
    def num_ready(self) -> int:
        """Runners that are idle or work."""
        return self._num_ready

    @property
    def ready(self) -> list[RunnerId]:
        """Those."""
        return [number for number, runner in self._runners.items() if runner.is_ready]

    @property
    def idle(self) -> Collection[RunnerId]:
        """Those without a call, the longest idle first; it follows what happens."""
        return self._idle.keys()

    @property
    def best_idle(self) -> RunnerId:
        """The one that is idle longest, of those that answered when asked, if there are any."""
        answering = (number for number in self._idle if self._runners[number].unanswered_since is None)
        return next(answering, next(iter(self._idle)))

    @property
    def with_room(self) -> Collection[RunnerId]:
        """Those that work, and may have another call wait behind this one; it follows what happens."""
        return self._with_room.keys()

    @property
    def with_waiting(self) -> RunnerId | None:
        """The one whose next call waits longest, of those that others may take over."""
        return next(iter(self._with_waiting), None)

    def waiting_tasks(self, number: RunnerId) -> tuple[Task, ...]:
        """Of the call that waits behind a runner's present one."""
        return self._runners[number].next_tasks

    @property
    def seconds_per_task(self) -> float | None:
        """That a task takes, lately; None before the first answer."""
        return self._seconds_per_task

    def is_spent(self, number: RunnerId) -> bool:
        """Whether it has played as many episodes as a runner may."""
        limit = self._rules.recycle_after
        return limit is not None and self._runners[number].episodes >= limit

    @property
    def is_hopeless(self) -> bool:
        """Whether runners only ever end before they are ready."""
        limit = _HOPELESS_STARTS if self._any_joined else _HOPELESS_FIRST_STARTS
        return self._failed_starts >= max(limit, self._size) and self._num_ready == 0

    def overdue(self, now: float) -> list[tuple[RunnerId, Literal["silent", "not started"]]]:
        """Runners that make no step, do not answer, or take too long to start."""
        limit, found = self._rules.silent_after_s, list[tuple[RunnerId, Literal["silent", "not started"]]]()
        for runner in self._runners.values():
            if not runner.is_ready:
                if runner.has_turn and now - runner.since > self._rules.start_timeout_s:
                    found.append((runner.number, "not started"))
            elif now - (runner.progressed if runner.tasks else runner.unanswered_since or now) > limit:
                found.append((runner.number, "silent"))
        return found

    def slow(self, now: float) -> Iterator[tuple[RunnerId, tuple[Task, ...]]]:
        """Runners that are slow, or have gone quiet, with each of their calls: others should do it too."""
        for runner in list(self._runners.values()):
            if runner.tasks and self._is_slow(runner, now):
                yield runner.number, runner.tasks
                yield runner.number, runner.next_tasks

    # Orders.

    def tick(self, now: float) -> None:
        """Time passes. Time in which nobody listened is nobody's silence."""
        away = now - self._now
        self._now = now
        if away > _AWAY_AFTER * min(self._rules.silent_after_s, self._rules.start_timeout_s):
            for runner in self._runners.values():
                runner.progressed += away
                if runner.unanswered_since is not None:
                    runner.unanswered_since += away
                if not runner.is_ready:
                    runner.since += away

    def grow(self, size: int) -> None:
        """There should be this many, if that is more than before."""
        self._size = max(self._size, size)

    def start_missing(self, now: float) -> list[RunnerId]:
        """New runners for those that are missing, if the back-off allows."""
        started = []
        has_turn = not self._rules.waits_for_room
        while len(self._runners) < self._size and now >= self._next_start:
            if has_turn and not self._turn_is_free:
                break
            self._runners[self._next_id] = Runner(self._next_id, now, now, now, now, has_turn=has_turn)
            self._num_starting += has_turn
            started.append(self._next_id)
            self._next_id += 1
        return started

    @property
    def _turn_is_free(self) -> bool:
        limit = self._rules.starts_at_once
        return limit is None or self._num_starting < limit

    def place(self, number: RunnerId) -> None:
        """A runner has its process."""
        self._placed[number] = None

    def take_turns(self, now: float) -> list[RunnerId]:
        """Those that are to become ready now: from now on they are expected to."""
        taken = []
        for number in list(self._placed):
            runner = self._runners[number]
            if not runner.has_turn:
                if not self._turn_is_free:
                    break
                runner.has_turn = True
                self._num_starting += 1
            runner.since = runner.asked = now
            del self._placed[number]
            taken.append(number)
        return taken

    def join(self, number: RunnerId, now: float) -> None:
        """A runner is ready."""
        runner = self._runners[number]
        runner.is_ready, runner.steps = True, 0
        runner.progressed = now
        self._num_ready += 1
        self._num_starting -= runner.has_turn
        self._idle[number] = None
        self._failed_starts = 0
        self._any_joined = True

    def assign(self, number: RunnerId, tasks: tuple[Task, ...], now: float, is_alone: bool) -> None:
        """An idle runner gets a call, behind which nothing waits if it is to be alone."""
        del self._idle[number]
        self._begin(self._runners[number], tasks, now)
        if not is_alone:
            self._with_room[number] = None

    def assign_next(self, number: RunnerId, tasks: tuple[Task, ...], is_owned: bool) -> None:
        """A runner with room gets a call for when it has finished; if it owns it, no other takes it over."""
        del self._with_room[number]
        if not is_owned:
            self._with_waiting[number] = None
        self._runners[number].next_tasks = tasks

    def withdraw_next(self, number: RunnerId) -> tuple[Task, ...]:
        """The tasks of the call that waits are for others now. It stays in its place until it comes back."""
        del self._with_waiting[number]
        self._runners[number].next_is_withdrawn = True
        return self._runners[number].next_tasks

    def finish(self, number: RunnerId, now: float) -> tuple[Task, ...]:
        """A call came back; its tasks. The one that waited behind it has begun."""
        runner = self._runners[number]
        tasks, following, is_withdrawn = runner.tasks, runner.next_tasks, runner.next_is_withdrawn
        runner.tasks, runner.next_tasks, runner.next_is_withdrawn = (), (), False
        self._with_waiting.pop(number, None)
        self._with_room.pop(number, None)
        if following:
            self._begin(runner, following, now)
            if not is_withdrawn:
                self._with_room[number] = None
        else:
            runner.progressed, runner.unanswered_since = now, None
            self._idle[number] = None
        return tasks

    def note(self, number: RunnerId, tasks: Sequence[Task], seconds: float, steps: int) -> None:
        """A runner did these in so many seconds and environment steps.

        Answers to questions tell nothing of what it takes to play: that is what all expectations are of. A
        question is expected to take no longer than that, which for the runner that played is far too much.
        """
        if tasks[0].question:
            return
        runner = self._runners[number]
        runner.episodes += sum(task.num_episodes for task in tasks)
        self._seconds_per_task = _mixed(self._seconds_per_task, seconds / len(tasks))
        if steps and seconds > 0:
            runner.rate = _mixed(runner.rate, steps / seconds)
            self._rate = _mixed(self._rate, steps / seconds)

    def remove(self, number: RunnerId, now: float) -> Runner:
        """A runner is gone.

        One that ends before its first answer may do so again and again: others wait for a while.
        """
        runner = self._runners.pop(number)
        for numbers in (self._idle, self._with_room, self._with_waiting, self._placed):
            numbers.pop(number, None)
        self._num_ready -= runner.is_ready
        self._num_starting -= runner.has_turn and not runner.is_ready
        if runner.episodes == 0:
            self._failed_starts += 1
            wait = min(_FIRST_BACK_OFF_S * 2.0 ** min(self._failed_starts, 10), _LONGEST_BACK_OFF_S)
            self._next_start = max(self._next_start, now + wait)
        return runner

    def ask_idle(self, now: float) -> list[RunnerId]:
        """Those that are idle are asked whether they are there."""
        for number in self._idle:
            self._ask(self._runners[number], now)
        return list(self._idle)

    def ask_working(self, now: float, help_is_at_hand: bool) -> list[RunnerId]:
        """Those whose heartbeat is due: now and then, of the suspicious sooner while somebody could help."""
        asked: list[RunnerId] = []
        for runner in self._runners.values():
            is_starting = runner.has_turn and not runner.is_ready
            could_be_helped = help_is_at_hand and not is_starting and len(asked) < _MOST_ASKED
            if (runner.tasks or is_starting) and self._is_due(runner, now, could_be_helped):
                self._ask(runner, now)
                asked.append(runner.number)
        return asked

    def hear(self, number: RunnerId, steps: int, now: float) -> None:
        """A sign of life: the steps of its call so far."""
        runner = self._runners[number]
        if runner.tasks and steps <= 0:
            return  # it was asked during the call before, or has made no step yet: that is no news
        runner.heard, runner.unanswered_since = now, None
        if steps > runner.steps:
            runner.steps, runner.progressed = steps, now
            if not runner.is_ready:
                runner.since = now

    def _ask(self, runner: Runner, now: float) -> None:
        runner.asked = now
        if runner.unanswered_since is None:
            runner.unanswered_since = now

    def _begin(self, runner: Runner, tasks: tuple[Task, ...], now: float) -> None:
        runner.tasks, runner.steps = tasks, 0
        runner.since = runner.progressed = runner.asked = runner.heard = now
        runner.unanswered_since = None

    def _is_slow(self, runner: Runner, now: float) -> bool:
        if self._rate is None:
            return False
        plays_long = not runner.tasks[0].question and self._expected(runner) > _SUSPICIOUS_S / 4
        if runner.rate is not None and runner.rate < _SLOW * self._rate and plays_long:
            return True
        if not self._is_suspicious(runner, now):
            return False
        if runner.unanswered_since is not None and now - runner.unanswered_since > _QUIET_S:
            return True
        rate = runner.rate_of_call
        return rate is not None and rate < _SLOW * self._rate

    def _is_suspicious(self, runner: Runner, now: float) -> bool:
        """Whether its call lasts longer than it should."""
        return now - runner.since > max(_SUSPICIOUS_S, _SUSPICIOUS_TIMES * self._expected(runner))

    def _is_due(self, runner: Runner, now: float, suspicious_ones: bool) -> bool:
        quiet = now - max(runner.asked, runner.since)
        limit = self._rules.silent_after_s if runner.is_ready else self._rules.start_timeout_s
        if quiet > _ASK_AFTER * limit:
            return True
        is_due = quiet > max(_SUSPICIOUS_S, _ASK_AFTER * (now - runner.since))
        return suspicious_ones and is_due and self._is_suspicious(runner, now)

    def _expected(self, runner: Runner) -> float:
        return (self._seconds_per_task or 0.0) * len(runner.tasks)


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)
