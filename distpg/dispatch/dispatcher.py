"""Who does which task: a pure state machine, with events in and commands out.

It knows no clock, no process and no Ray, so that it can be driven through any order of events and faults, by
thousands of simulated runners in virtual time. What it decides changes how long an iteration takes and never
what it yields: a task is a pure function of its weights and episode numbers, and answers are put back in the
order of the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from distpg.core.tasks import Task
from distpg.dispatch.backlog import QUARANTINE_S, Backlog, Work
from distpg.dispatch.fleet import Fleet
from distpg.dispatch.messages import (
    Accept,
    Answered,
    Ask,
    Command,
    Differ,
    Event,
    GiveUp,
    Heard,
    Joined,
    Placed,
    Rules,
    RunnerId,
    Search,
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
# Looking for slow runners takes a time that grows with their number: a pause for each keeps it in bounds. So
# does asking no more than this many suspicious ones at a time, where the dispatcher itself is what is slow.
_HEDGE_PAUSE_S = 1e-4
_MOST_ASKED = 64


class Dispatcher:
    """Hands tasks to runners until each is answered once, or twice where it is audited."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._fleet = Fleet(
            rules.num_runners, rules.silent_after_s, rules.start_timeout_s, rules.waits_for_room
        )
        self._backlog = Backlog()
        self._deaths = 0
        self._roll_call = -QUARANTINE_S
        self._next_hedge = 0.0

    @property
    def num_ready(self) -> int:
        """Runners alive and ready, working or idle."""
        return self._fleet.num_ready

    @property
    def done(self) -> bool:
        """Whether every task has all the answers that it needs."""
        return not self._backlog.unfinished

    def is_finished(self, task: Task) -> bool:
        """Whether a task has all the answers that it needs."""
        return task not in self._backlog.unfinished

    @property
    def num_runners(self) -> int:
        """Runners that there should be."""
        return self._fleet.size

    def grow(self, num_runners: int) -> None:
        """Use this many runners, if that is more than now; they are started by the next event."""
        self._fleet.size = max(self._fleet.size, num_runners)

    def add(self, tasks: Sequence[Task], now: float) -> list[Command]:
        """Take on more tasks; earlier ones are handed out first."""
        self._fleet.tick(now)
        self._backlog.add(tasks, self._rules.audited(tasks))
        return self._hand_out(now)

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do now that this has happened. Events of runners already gone change nothing."""
        commands: list[Command] = []
        self._fleet.tick(now)
        self._backlog.end_quarantine(now)
        if isinstance(event, TimePassed):
            for runner in self._fleet.overdue(now):
                commands.append(Stop(runner.number, "silent" if runner.is_ready else "not started"))
                commands += self._lose(runner.number, now)
        elif event.runner not in self._fleet.runners:
            pass
        elif isinstance(event, Placed):
            self._fleet.place(event.runner, now)
        elif isinstance(event, Joined):
            self._fleet.join(event.runner, now)
        elif isinstance(event, Heard):
            self._fleet.hear(event.runner, event.steps, now)
        elif isinstance(event, Answered):
            commands += self._take(event, now)
        elif isinstance(event, Skipped):
            for task in reversed(self._fleet.finish(event.runner, now)):
                self._backlog.release(task, event.runner)
        else:
            commands += self._lose(event.runner, now)
        if self._fleet.is_hopeless:
            return [*commands, GiveUp(None, "no runner starts")]
        commands += [Start(runner.number) for runner in self._fleet.start_missing(now)]
        commands += self._hand_out(now)
        if isinstance(event, TimePassed):
            commands += self._ask(now)
        return commands

    def _take(self, event: Answered, now: float) -> list[Command]:
        """The answers of a call."""
        tasks = self._fleet.finish(event.runner, now)
        self._fleet.note(event.runner, tasks, event.seconds, event.steps)
        commands: list[Command] = []
        for task, digest in zip(tasks, event.digests, strict=True):
            work = self._backlog.work[task]
            was_withdrawn = event.runner in work.withdrawn
            (work.withdrawn if was_withdrawn else work.holders).discard(event.runner)
            if digest is None and was_withdrawn:
                self._backlog.forget_if_finished(task)
            elif digest is None:
                commands += self._failed(task, work, event.runner)
            elif work.answer is None:
                commands += self._first_answer(task, work, (digest, event.runner))
            else:
                if work.answer[0] != digest:
                    commands.append(Differ(task, (work.answer[1], event.runner)))
                work.needs_second = False
                self._backlog.forget_if_finished(task)
        limit = self._rules.recycle_after
        if limit is not None and self._fleet.runners[event.runner].episodes >= limit:
            self._fleet.remove(event.runner, now)
            commands.append(Stop(event.runner, "recycled"))
        return commands

    def _first_answer(self, task: Task, work: Work, answer: tuple[str, RunnerId]) -> list[Command]:
        work.answer = answer
        if work.parent is not None:
            self._backlog.forget_if_finished(task)
            return self._part_is_harmless(task, work.parent)
        if work.needs_second and not work.holders:
            self._backlog.elsewhere.append((task, {answer[1]}))
        self._backlog.forget_if_finished(task)
        return [Accept(task)]

    def _failed(self, task: Task, work: Work, runner: RunnerId) -> list[Command]:
        """An environment raised an exception, which is the same everywhere unless the runner is at fault."""
        again = runner in work.failed_on
        work.failed_on.add(runner)
        failed_twice = again or len(work.failed_on) > 1
        if work.answer is not None:
            return self._second_failed(task, work, runner, failed_twice)
        if work.holders:
            return []
        if failed_twice:
            return [GiveUp(task, "failed")]
        self._backlog.elsewhere.append((task, work.failed_on))
        return []

    def _second_failed(self, task: Task, work: Work, runner: RunnerId, failed_twice: bool) -> list[Command]:
        """It did not fail before. Once is the runner's own trouble, as a first failure is; twice is not."""
        commands: list[Command] = []
        if work.needs_second and not work.holders:
            assert work.answer is not None
            if failed_twice:
                work.needs_second = False
                commands.append(Differ(task, (work.answer[1], runner)))
            else:
                self._backlog.elsewhere.append((task, work.failed_on | {work.answer[1]}))
        self._backlog.forget_if_finished(task)
        return commands

    def _lose(self, number: RunnerId, now: float) -> list[Command]:
        """A runner is gone: its tasks are others' now, the oldest work first."""
        commands: list[Command] = []
        runner = self._fleet.remove(number, now)
        for task in reversed(runner.next_tasks):
            self._backlog.release(task, number)
        for task in reversed(runner.tasks):
            work = self._backlog.work[task]
            if number in work.withdrawn:
                self._backlog.release(task, number)
                continue
            work.holders.discard(number)
            if work.answer is not None:
                self._lose_second(task, work)
                continue
            work.note_death(self._deaths)
            if work.holders:
                continue
            if work.is_guilty(self._deaths + 1, max(1, self._rules.max_task_retries)):
                commands += self._search(task, work, now)
            elif work.failed_on:
                self._backlog.elsewhere.append((task, work.failed_on))
            elif work.deaths == 1:
                self._backlog.pending.appendleft(task)
            else:
                self._backlog.quarantine(task, now)
        self._deaths += runner.is_ready
        if runner.tasks and now - self._roll_call > QUARANTINE_S / 2:
            # A lost node takes idle runners along, whose end shows only when they are spoken to.
            self._roll_call = now
            for idle in self._fleet.idle:
                self._fleet.runners[idle].ask(now)
                commands.append(Ask(idle))
        return commands

    def _lose_second(self, task: Task, work: Work) -> None:
        """Whoever was to give a second answer is gone. An audit is worth a few runners, and no more."""
        work.deaths += 1
        if work.needs_second and not work.holders and work.answer is not None:
            if work.deaths < max(1, self._rules.max_task_retries):
                self._backlog.elsewhere.append((task, {work.answer[1]}))
            else:
                work.needs_second = False
        self._backlog.forget_if_finished(task)

    def _search(self, task: Task, work: Work, now: float) -> list[Command]:
        """Find the episode that kills runners. One that is known by name already has to do it all again."""
        if work.was_searched or work.parent is not None:
            return [GiveUp(task, "died")]
        work.was_searched, work.deaths = True, 0
        if task.num_episodes == 1:
            self._backlog.quarantine(task, now)
            return [Search(task)]
        self._backlog.add_parts(task)
        return [Search(task)]

    def _part_is_harmless(self, part: Task, parent: Task) -> list[Command]:
        work = self._backlog.work[parent]
        work.parts.discard(part)
        if not work.parts:
            # None kills alone: the deaths were an accident, or come from all of them together. The answer
            # must come from the task as a whole, since its episodes share their forward passes.
            self._backlog.pending.appendleft(parent)
        return []

    def _hand_out(self, now: float) -> list[Command]:
        commands: list[Command] = []
        self._hand_out_elsewhere(commands, now)
        idle = self._fleet.idle
        # At the start of an iteration everyone is idle and the tasks are split evenly. Later the busy ones
        # will ask too: nobody may run dry beside a runner that holds a list of tasks.
        busy = self._fleet.num_ready - len(idle) if self._backlog.pending and idle else 0
        while idle and (self._backlog.head() is not None or self._fleet.with_next):
            if self._older_waits():
                self._take_over(commands, now)
                continue
            share = -(-len(self._backlog.pending) // (len(idle) + busy))
            tasks = self._backlog.next_call(min(share, self._tasks_per_call()))
            self._send(commands, self._fleet.best_idle, tasks, "new", now)
        self._hand_out_ahead(commands)
        if idle and self._backlog.unfinished and now >= self._next_hedge:
            self._next_hedge = now + _HEDGE_PAUSE_S * self._fleet.num_ready
            self._hedge(commands, now)
        return commands

    def _hand_out_ahead(self, commands: list[Command]) -> None:
        """Second calls, while there is nothing that an idle runner should do first."""
        fleet = self._fleet
        is_short = fleet.seconds_per_task is not None and fleet.seconds_per_task < _SHORT_S
        if not is_short or self._backlog.elsewhere or self._rules.recycle_after is not None:
            return
        while fleet.with_room and (head := self._backlog.head()) is not None:
            if self._backlog.work[head].is_alone or self._older_waits():
                return
            share = -(-len(self._backlog.pending) // fleet.num_ready)
            tasks = self._backlog.next_call(min(share, self._tasks_per_call()))
            runner = next(iter(fleet.with_room))
            fleet.assign_next(runner, tasks)
            self._hold(commands, Send(runner, tasks, "ahead"))

    def _older_waits(self) -> bool:
        """Whether a call waits behind another with tasks of an earlier iteration than all pending ones."""
        waiting = next(iter(self._fleet.with_next), None)
        if waiting is None:
            return False
        head = self._backlog.head()
        task = self._fleet.runners[waiting].next_tasks[0]
        return head is None or self._backlog.work[task].round < self._backlog.work[head].round

    def _take_over(self, commands: list[Command], now: float) -> None:
        """An idle runner gets the call that waits longest behind another one's."""
        waiting = next(iter(self._fleet.with_next))
        tasks = self._fleet.withdraw_next(waiting)
        commands.append(Withdraw(waiting))
        for task in tasks:
            self._backlog.work[task].holders.discard(waiting)
            self._backlog.work[task].withdrawn.add(waiting)
        tasks = tuple(task for task in tasks if self._backlog.work[task].answer is None)
        if tasks:
            self._send(commands, self._fleet.best_idle, tasks, "new", now)

    def _hand_out_elsewhere(self, commands: list[Command], now: float) -> None:
        idle = self._fleet.idle
        for _ in range(len(self._backlog.elsewhere) if idle else 0):
            if not idle:
                return
            task, avoided = self._backlog.elsewhere.popleft()
            if task not in self._backlog.unfinished:
                continue  # one that was withdrawn too late has answered
            others = [runner for runner in idle if runner not in avoided]
            ready = (number for number, runner in self._fleet.runners.items() if runner.is_ready)
            if others or avoided.issuperset(ready):
                self._send(commands, others[0] if others else next(iter(idle)), (task,), "elsewhere", now)
            else:
                self._backlog.elsewhere.append((task, avoided))

    def _hedge(self, commands: list[Command], now: float) -> None:
        """Give what slow runners work on to idle ones too: whoever is first counts.

        Not what killed a runner already: one that kills must not take its helpers along, for ever.
        """
        for runner in list(self._fleet.working):
            if not self._fleet.idle:
                return
            tasks = tuple(
                task
                for task in runner.tasks
                if (work := self._backlog.work[task]).answer is None
                and work.holders == {runner.number}
                and not (work.is_alone or work.failed_on)
            )
            if tasks and self._fleet.is_slow(runner, now):
                self._send(commands, self._fleet.best_idle, tasks, "hedge", now)

    def _send(
        self,
        commands: list[Command],
        runner: RunnerId,
        tasks: tuple[Task, ...],
        why: Literal["new", "hedge", "elsewhere"],
        now: float,
    ) -> None:
        self._fleet.assign(runner, tasks, now, any(self._backlog.work[task].is_alone for task in tasks))
        self._hold(commands, Send(runner, tasks, why))

    def _hold(self, commands: list[Command], send: Send) -> None:
        for task in send.tasks:
            self._backlog.work[task].holders.add(send.runner)
        commands.append(send)

    def _ask(self, now: float) -> list[Ask]:
        """Heartbeats; of the suspicious sooner, while somebody could help them."""
        asked: list[Ask] = []
        help_is_at_hand = bool(self._fleet.idle) and not self.done
        for runner in self._fleet.working:
            if self._fleet.should_be_asked(runner, now, help_is_at_hand and len(asked) < _MOST_ASKED):
                runner.ask(now)
                asked.append(Ask(runner.number))
        return asked

    def _tasks_per_call(self) -> int:
        if self._fleet.seconds_per_task is None:
            return 1
        return max(1, int(_SECONDS_PER_CALL / max(self._fleet.seconds_per_task, 1e-6)))
