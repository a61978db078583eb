"""Who does which task: a pure state machine, with reports in and commands out.

It knows no clock, no process and no Ray, so that it can be driven through any order of reports and faults, by
thousands of simulated runners in virtual time. What it decides changes how long an iteration takes and never
what it yields: a task is a pure function of its weights and episode numbers, and answers are put back in the
order of the tasks.

The backlog knows the life of each task, the fleet that of each runner; each has its table at its head. Here
the one is matched with the other: tasks are handed out, sent ahead, taken over and hedged.
"""

from typing import Literal

from distpg.core.tasks import Task
from distpg.dispatch.backlog import QUARANTINE_S, Backlog
from distpg.dispatch.fleet import Fleet
from distpg.dispatch.messages import (
    Added,
    Answered,
    Ask,
    Command,
    Died,
    GiveUp,
    Grown,
    Heard,
    Join,
    Joined,
    Placed,
    Report,
    Rules,
    RunnerId,
    Send,
    Skipped,
    Start,
    Stop,
    TimePassed,
    Withdraw,
)

# A call costs about a millisecond whatever is in it. Tasks travel together until a call has this much work.
_SECONDS_PER_CALL = 0.05
# Where tasks are shorter, a second call waits behind the first, so that the way there and back and the
# dispatcher's own time, which grows with the number of runners, are nobody's idle time.
_SHORT_S = 10.0
# Looking for late or slow runners takes a time that grows with their number: a pause for each keeps it in
# bounds.
_PAUSE_S = 1e-4


class Dispatcher:
    """Hands tasks to runners until each is answered once, or twice where it is audited."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._fleet = Fleet(rules)
        self._backlog = Backlog(rules.max_task_retries)
        self._commands: list[Command] = []
        self._roll_call = -QUARANTINE_S
        self._next_look = self._next_hedge = 0.0

    @property
    def num_ready(self) -> int:
        """Runners alive and ready, working or idle."""
        return self._fleet.num_ready

    @property
    def num_runners(self) -> int:
        """Runners that there should be."""
        return self._fleet.size

    @property
    def is_done(self) -> bool:
        """Whether every task has all the answers that it needs."""
        return self._backlog.is_done

    def is_finished(self, task: Task) -> bool:
        """Whether a task has all the answers that it needs."""
        return self._backlog.is_finished(task)

    def handle(self, report: Report, now: float) -> list[Command]:
        """What to do now that this has happened. Reports of runners already gone change nothing.

        Args:
            now: Seconds, since whenever; never less than at the call before.
        """
        self._commands = []
        self._fleet.tick(now)
        self._backlog.end_quarantine(now)
        is_look = isinstance(report, TimePassed) and now >= self._next_look
        if is_look:
            self._next_look = now + _PAUSE_S * self._fleet.size
            self._stop_overdue(now)
        self._take(report, now)
        if self._fleet.is_hopeless:
            self._order(GiveUp(None, "no runner starts"))
            return self._commands
        for number in self._fleet.start_missing(now):
            self._order(Start(number))
        for number in self._fleet.take_turns(now):
            self._order(Join(number))
        self._hand_out(now)
        if is_look:
            help_is_at_hand = bool(self._fleet.idle) and not self.is_done
            for number in self._fleet.ask_working(now, help_is_at_hand):
                self._order(Ask(number))
        return self._commands

    def _order(self, command: Command) -> None:
        self._commands.append(command)

    def _take(self, report: Report, now: float) -> None:
        """Note in backlog and fleet what has happened."""
        match report:
            case Added(tasks, audited, owners):
                ready = set(self._fleet.ready) if owners else set()
                self._backlog.add(tasks, audited, [owner if owner in ready else None for owner in owners])
            case Grown(num_runners):
                self._fleet.grow(num_runners)
            case TimePassed():
                pass
            case _ if report.runner not in self._fleet:
                pass
            case Placed(number):
                self._fleet.place(number)
            case Joined(number):
                self._fleet.join(number, now)
            case Heard(number, steps):
                self._fleet.hear(number, steps, now)
            case Skipped(number):
                self._backlog.release(self._fleet.finish(number, now), number)
            case Died(number):
                self._lose(number, now)
            case Answered():
                self._take_answers(report, now)

    def _take_answers(self, report: Answered, now: float) -> None:
        number = report.runner
        tasks = self._fleet.finish(number, now)
        self._fleet.note(number, tasks, report.seconds, report.steps)
        for task, digest in zip(tasks, report.digests, strict=True):
            if (command := self._backlog.answer(task, number, digest)) is not None:
                self._order(command)
        if self._fleet.is_spent(number):
            self._fleet.remove(number, now)
            self._backlog.disown(number)
            self._order(Stop(number, "recycled"))

    def _stop_overdue(self, now: float) -> None:
        for number, why in self._fleet.overdue(now):
            self._order(Stop(number, why))
            self._lose(number, now)

    def _lose(self, number: RunnerId, now: float) -> None:
        """A runner is gone: its tasks are others' now."""
        runner = self._fleet.remove(number, now)
        if runner.is_ready:
            self._commands += self._backlog.lose(number, runner.tasks, runner.next_tasks, now)
        if runner.tasks and now - self._roll_call > QUARANTINE_S / 2:
            # A lost node takes idle runners along, whose end shows only when they are spoken to.
            self._roll_call = now
            for idle in self._fleet.ask_idle(now):
                self._order(Ask(idle))

    def _hand_out(self, now: float) -> None:
        """Work for the idle, what they own first; calls that wait behind others; then help for the slow."""
        fleet, backlog = self._fleet, self._backlog
        idle = fleet.idle
        for number in backlog.owners_among(idle):
            self._send(number, backlog.next_owned(number), "new", now)
        if idle and backlog.has_elsewhere:
            for number, task in backlog.second_tries(idle, fleet.ready):
                self._send(number, (task,), "elsewhere", now)
        # At the start of an iteration everyone is idle and the tasks are split evenly. Later the busy ones
        # will ask too: nobody may run dry beside a runner that holds a list of tasks.
        busy = fleet.num_ready - len(idle) if backlog.num_pending and idle else 0
        while idle and (backlog.head() is not None or fleet.with_waiting is not None):
            if self._older_call_waits():
                self._take_over(now)
            else:
                self._send(fleet.best_idle, self._next_call(len(idle) + busy), "new", now)
        self._send_ahead()
        if idle and not backlog.is_done and now >= self._next_hedge:
            self._next_hedge = now + _PAUSE_S * fleet.num_ready
            self._hedge(now)

    def _next_call(self, sharers: int) -> tuple[Task, ...]:
        """An even share of the pending tasks, at most as many as are worth a call."""
        share = -(-self._backlog.num_pending // sharers)
        seconds = self._fleet.seconds_per_task
        worth = 1 if seconds is None else max(1, int(_SECONDS_PER_CALL / max(seconds, 1e-6)))
        return self._backlog.next_call(min(share, worth))

    def _send_ahead(self) -> None:
        """Second calls: of what runners own; else while there is nothing that an idle one should do first."""
        fleet, backlog = self._fleet, self._backlog
        if self._rules.recycle_after is not None:
            return  # nothing may wait behind what is a runner's last call
        for number in backlog.owners_among(fleet.with_room):
            self._send_behind(number, backlog.next_owned(number), is_owned=True)
        is_short = fleet.seconds_per_task is not None and fleet.seconds_per_task < _SHORT_S
        if not is_short or backlog.has_elsewhere:
            return
        while fleet.with_room and (head := backlog.head()) is not None:
            if backlog.is_alone((head,)) or self._older_call_waits():
                return
            number, tasks = next(iter(fleet.with_room)), self._next_call(fleet.num_ready)
            self._send_behind(number, tasks, is_owned=False)

    def _send_behind(self, number: RunnerId, tasks: tuple[Task, ...], is_owned: bool) -> None:
        self._fleet.assign_next(number, tasks, is_owned)
        self._backlog.hold(tasks, number)
        self._order(Send(number, tasks, "ahead"))

    def _older_call_waits(self) -> bool:
        """Whether a call waits behind another with tasks of an earlier iteration than all pending ones."""
        number = self._fleet.with_waiting
        return number is not None and self._backlog.comes_before_pending(self._fleet.waiting_tasks(number)[0])

    def _take_over(self, now: float) -> None:
        """An idle runner gets the call that waits longest behind another one's."""
        number = self._fleet.with_waiting
        assert number is not None
        tasks = self._backlog.withdraw(self._fleet.withdraw_next(number), number)
        self._order(Withdraw(number))
        if tasks:
            self._send(self._fleet.best_idle, tasks, "new", now)

    def _hedge(self, now: float) -> None:
        """Give what slow runners have to idle ones too, whoever is first counts; and then what they own."""
        for number, tasks in self._fleet.slow(now):
            if not self._fleet.idle:
                return
            if helped := self._backlog.that_help_may_do(number, tasks):
                self._send(self._fleet.best_idle, helped, "hedge", now)
            elif owned := self._backlog.next_owned(number):
                self._send(self._fleet.best_idle, owned, "new", now)

    def _send(
        self, number: RunnerId, tasks: tuple[Task, ...], why: Literal["new", "hedge", "elsewhere"], now: float
    ) -> None:
        self._fleet.assign(number, tasks, now, self._backlog.is_alone(tasks))
        self._backlog.hold(tasks, number)
        self._order(Send(number, tasks, why))
