"""Who does which task: a pure state machine, with events in and commands out.

It knows no clock, no process and no Ray, so that it can be driven through any order of events and faults, by
thousands of simulated runners in virtual time. What it decides changes how long an iteration takes and never
what it yields: a task is a pure function of its weights and episode numbers, and answers are put back in the
order of the tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from distpg.env_runners import Task
from distpg.fleet import Fleet, Runner
from distpg.messages import (
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
    Start,
    Stop,
    TimePassed,
)
from distpg.work import Work

# A call costs about a millisecond whatever is in it. Tasks travel together until a call has this much work.
_SECONDS_PER_CALL = 0.05
_WEIGHT_OF_NEW_TIMING = 0.3
# A call that lasts so many times as long as expected, and so long, is looked into: its runner may be slow.
_SUSPICIOUS_TIMES = 1.5
_SUSPICIOUS_S = 0.1
# A runner below this share of the common rate is slow, and so is one that keeps quiet for so long.
_SLOW = 0.5
_QUIET_S = 1.0
# Looking for slow runners takes a time that grows with their number: a pause for each keeps it in bounds. So
# does asking no more than this many suspicious ones at a time, where the dispatcher itself is what is slow.
_HEDGE_PAUSE_S = 1e-4
_MOST_ASKED = 64
# What killed twice waits so long. Where a node is lost, the deaths of all its runners are known by then: else
# its last task would be given to one of the dead after the other, and seem to have killed them.
_QUARANTINE_S = 1.0
# A working runner is asked how far it is after this share of the time that makes it silent, or of its call.
_ASK_AFTER = 0.25


class Dispatcher:
    """Hands tasks to runners until each is answered once, or twice where it is audited."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._fleet = Fleet(
            rules.num_runners, rules.silent_after_s, rules.start_timeout_s, rules.waits_for_room
        )
        self._pending: deque[Task] = deque()
        # Second tries and audits, with the runners that should not be the ones to do them.
        self._elsewhere: deque[tuple[Task, set[RunnerId]]] = deque()
        # Tasks that killed again, with the time at which they may be tried once more.
        self._quarantine: deque[tuple[float, Task]] = deque()
        self._work: dict[Task, Work] = {}
        self._unfinished: set[Task] = set()
        self._seconds_per_task: float | None = None
        self._deaths = 0
        self._roll_call = -_QUARANTINE_S
        self._next_hedge = 0.0

    @property
    def num_ready(self) -> int:
        """Runners alive and ready, working or idle."""
        return self._fleet.num_ready

    @property
    def done(self) -> bool:
        """Whether every task has all the answers that it needs."""
        return not self._unfinished

    def is_finished(self, task: Task) -> bool:
        """Whether a task has all the answers that it needs."""
        return task not in self._unfinished

    @property
    def num_runners(self) -> int:
        """Runners that there should be."""
        return self._fleet.size

    def grow(self, num_runners: int) -> None:
        """Use this many runners, if that is more than now; they are started by the next event."""
        self._fleet.size = max(self._fleet.size, num_runners)

    def add(self, tasks: Iterable[Task], now: float) -> list[Command]:
        """Take on more tasks; earlier ones are handed out first."""
        self._fleet.tick(now)
        for task in tasks:
            self._work[task] = Work(needs_second=self._rules.is_audited(task))
            self._unfinished.add(task)
            self._pending.append(task)
        return self._hand_out(now)

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do now that this has happened. Events of runners already gone change nothing."""
        commands: list[Command] = []
        self._fleet.tick(now)
        while self._quarantine and self._quarantine[0][0] <= now:
            self._pending.appendleft(self._quarantine.popleft()[1])
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
        tasks = self._fleet.finish(event.runner, event.seconds, event.steps, now)
        self._note_timing(event.seconds, len(tasks))
        commands: list[Command] = []
        for task, digest in zip(tasks, event.digests, strict=True):
            work = self._work[task]
            work.holders.discard(event.runner)
            if digest is None:
                commands += self._failed(task, work, event.runner)
            elif work.answer is None:
                commands += self._first_answer(task, work, (digest, event.runner))
            else:
                if work.answer[0] != digest:
                    commands.append(Differ(task, (work.answer[1], event.runner)))
                work.needs_second = False
                self._forget_if_finished(task, work)
        limit = self._rules.recycle_after
        if limit is not None and self._fleet.runners[event.runner].episodes >= limit:
            self._fleet.remove(event.runner, now)
            commands.append(Stop(event.runner, "recycled"))
        return commands

    def _first_answer(self, task: Task, work: Work, answer: tuple[str, RunnerId]) -> list[Command]:
        work.answer = answer
        if work.parent is not None:
            self._forget_if_finished(task, work)
            return self._part_is_harmless(task, work.parent)
        if work.needs_second and not work.holders:
            self._elsewhere.append((task, {answer[1]}))
        self._forget_if_finished(task, work)
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
        self._elsewhere.append((task, work.failed_on))
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
                self._elsewhere.append((task, work.failed_on | {work.answer[1]}))
        self._forget_if_finished(task, work)
        return commands

    def _lose(self, number: RunnerId, now: float) -> list[Command]:
        """A runner is gone: its tasks are others' now, the oldest work first."""
        commands: list[Command] = []
        runner = self._fleet.remove(number, now)
        for task in reversed(runner.tasks):
            work = self._work[task]
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
                self._elsewhere.append((task, work.failed_on))
            elif work.deaths == 1:
                self._pending.appendleft(task)
            else:
                self._quarantine.append((now + _QUARANTINE_S, task))
        self._deaths += runner.is_ready
        if runner.tasks and now - self._roll_call > _QUARANTINE_S / 2:
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
                self._elsewhere.append((task, {work.answer[1]}))
            else:
                work.needs_second = False
        self._forget_if_finished(task, work)

    def _search(self, task: Task, work: Work, now: float) -> list[Command]:
        """Find the episode that kills runners. One that is known by name already has to do it all again."""
        if work.was_searched or work.parent is not None:
            return [GiveUp(task, "died")]
        work.was_searched, work.deaths = True, 0
        if task.num_episodes == 1:
            self._quarantine.append((now + _QUARANTINE_S, task))
            return [Search(task)]
        episodes = range(task.first_episode, task.first_episode + task.num_episodes)
        work.parts = {Task(episode, 1, task.weights_seq_no) for episode in episodes}
        for part in sorted(work.parts, key=lambda part: -part.first_episode):
            self._work[part] = Work(parent=task, is_alone=True)
            self._unfinished.add(part)
            self._pending.appendleft(part)
        return [Search(task)]

    def _part_is_harmless(self, part: Task, parent: Task) -> list[Command]:
        work = self._work[parent]
        work.parts.discard(part)
        if not work.parts:
            # None kills alone: the deaths were an accident, or come from all of them together. The answer
            # must come from the task as a whole, since its episodes share their forward passes.
            self._pending.appendleft(parent)
        return []

    def _forget_if_finished(self, task: Task, work: Work) -> None:
        if work.answer is not None and not work.needs_second:
            self._unfinished.discard(task)
            if not work.holders:
                self._work.pop(task, None)

    def _note_timing(self, seconds: float, num_tasks: int) -> None:
        measured = seconds / num_tasks
        if self._seconds_per_task is None:
            self._seconds_per_task = measured
        self._seconds_per_task += _WEIGHT_OF_NEW_TIMING * (measured - self._seconds_per_task)

    def _hand_out(self, now: float) -> list[Command]:
        commands: list[Command] = []
        self._hand_out_elsewhere(commands, now)
        idle = self._fleet.idle
        # At the start of an iteration everyone is idle and the tasks are split evenly. Later the busy ones
        # will ask too: nobody may run dry beside a runner that holds a list of tasks.
        busy = self._fleet.num_ready - len(idle) if self._pending and idle else 0
        while self._pending and idle:
            share = -(-len(self._pending) // (len(idle) + busy))
            tasks = self._next_call(min(share, self._tasks_per_call()))
            if tasks:
                self._send(commands, self._fleet.best_idle, tasks, "new", now)
        if idle and self._unfinished and now >= self._next_hedge:
            self._next_hedge = now + _HEDGE_PAUSE_S * self._fleet.num_ready
            self._hedge(commands, now)
        return commands

    def _next_call(self, count: int) -> tuple[Task, ...]:
        """The next tasks that are still to be done, for one set of weights; what killed travels alone."""
        tasks: list[Task] = []
        while self._pending and len(tasks) < count:
            work = self._work.get(self._pending[0])
            if work is None or work.answer is not None:
                self._pending.popleft()
                continue
            if tasks and (work.is_alone or self._pending[0].weights_seq_no != tasks[0].weights_seq_no):
                break
            tasks.append(self._pending.popleft())
            if work.is_alone:
                break
        return tuple(tasks)

    def _hand_out_elsewhere(self, commands: list[Command], now: float) -> None:
        idle = self._fleet.idle
        for _ in range(len(self._elsewhere) if idle else 0):
            if not idle:
                return
            task, avoided = self._elsewhere.popleft()
            others = [runner for runner in idle if runner not in avoided]
            ready = (number for number, runner in self._fleet.runners.items() if runner.is_ready)
            if others or avoided.issuperset(ready):
                self._send(commands, others[0] if others else next(iter(idle)), (task,), "elsewhere", now)
            else:
                self._elsewhere.append((task, avoided))

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
                if (work := self._work[task]).answer is None
                and work.holders == {runner.number}
                and not (work.is_alone or work.failed_on)
            )
            if tasks and self._is_slow(runner, now):
                self._send(commands, self._fleet.best_idle, tasks, "hedge", now)

    def _is_slow(self, runner: Runner, now: float) -> bool:
        common = self._fleet.rate
        if common is None:
            return False
        if runner.rate is not None and runner.rate < _SLOW * common and self._is_long(runner):
            return True
        if not self._is_suspicious(runner, now):
            return False
        if runner.unanswered_since is not None and now - runner.unanswered_since > _QUIET_S:
            return True
        rate = runner.rate_of_call
        return rate is not None and rate < _SLOW * common

    def _is_suspicious(self, runner: Runner, now: float) -> bool:
        return now - runner.since > max(_SUSPICIOUS_S, _SUSPICIOUS_TIMES * self._expected(runner))

    def _is_long(self, runner: Runner) -> bool:
        return self._expected(runner) > _SUSPICIOUS_S / 4

    def _expected(self, runner: Runner) -> float:
        return (self._seconds_per_task or 0.0) * len(runner.tasks)

    def _send(
        self,
        commands: list[Command],
        runner: RunnerId,
        tasks: tuple[Task, ...],
        why: Literal["new", "hedge", "elsewhere"],
        now: float,
    ) -> None:
        self._fleet.assign(runner, tasks, now)
        for task in tasks:
            self._work[task].holders.add(runner)
        commands.append(Send(runner, tasks, why))

    def _ask(self, now: float) -> list[Ask]:
        """Heartbeats: of everyone from time to time, of the suspicious while somebody could help them."""
        asked: list[Ask] = []
        help_is_at_hand = bool(self._fleet.idle) and not self.done
        for runner in self._fleet.working:
            quiet = now - max(runner.asked, runner.since)
            if quiet > _ASK_AFTER * self._rules.silent_after_s or (
                help_is_at_hand
                and len(asked) < _MOST_ASKED
                and self._is_suspicious(runner, now)
                and quiet > max(_SUSPICIOUS_S, _ASK_AFTER * (now - runner.since))
            ):
                runner.ask(now)
                asked.append(Ask(runner.number))
        return asked

    def _tasks_per_call(self) -> int:
        if self._seconds_per_task is None:
            return 1
        return max(1, int(_SECONDS_PER_CALL / max(self._seconds_per_task, 1e-6)))
