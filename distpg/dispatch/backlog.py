"""Tasks that are not finished: the life of each, and which is to be done next.

| a task that is | and              | is then                                                     |
|----------------|------------------|-------------------------------------------------------------|
| pending        | handed out       | held                                                        |
| owned          | its owner has room        | held by that one, ahead of all that is pending     |
| owned          | its owner is lost         | pending, before all others                         |
| owned          | its owner is slow, another idle | held by that other one                       |
| held           | answered         | accepted, and finished; an audited one goes elsewhere first |
| held           | failed           | to be tried once elsewhere; given up if it was              |
| held           | orphaned once    | pending, before all others, and travels alone               |
| held           | orphaned again   | in quarantine for a second, then pending                    |
| held           | orphaned often   | searched: its episodes are pending one by one               |
| held, behind another call | released | pending: it had not begun, and nobody is to blame       |
| elsewhere      | another is idle  | held by that one                                            |
| searched       | all parts done   | pending as a whole: no episode kills alone                  |
| searched       | orphaned often   | given up; so is a part, which names the episode that kills  |
"""

import itertools
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from distpg.core.tasks import Task
from distpg.dispatch.messages import Accept, Command, Differ, GiveUp, RunnerId, Search

# What killed twice waits so long. Where a node is lost, the deaths of all its runners are known by then: else
# its last task would be given to one of the dead after the other, and seem to have killed them.
QUARANTINE_S = 1.0
# So often deaths are put down to a bad day.
_MAX_ACQUITTALS = 5


@dataclass
class _Work:
    """What is known of a task.

    Attributes:
        round: With how many others its iteration was added before: the lower, the sooner it is needed. Of
            questions -1: nothing is needed sooner.
        deaths: Of runners that worked on it; deaths_before: of all runners before its first one.
        acquittals: How often its deaths were put down to a bad day.
        failed_on: Runners on which an episode of it failed.
        answer: Digest of the first answer, and who gave it.
        holders: Runners that work on it, or have it wait behind another call.
        withdrawn: Runners that may leave it out, since others do it now, but have not said so.
        parent: The task whose killing episode this one is played to find.
        parts: Such episodes still out, for the parent.
    """

    round: int
    needs_second: bool = False
    parent: Task | None = None
    is_alone: bool = False
    deaths: int = 0
    deaths_before: int = 0
    acquittals: int = 0
    was_searched: bool = False
    answer: tuple[str, RunnerId] | None = None
    failed_on: set[RunnerId] = field(default_factory=set)
    holders: set[RunnerId] = field(default_factory=set)
    withdrawn: set[RunnerId] = field(default_factory=set)
    parts: set[Task] = field(default_factory=set)

    def note_death(self, deaths_before: int) -> None:
        """A runner that worked on it is gone; so many of all had gone before."""
        if self.deaths == 0:
            self.deaths_before = deaths_before
        self.deaths += 1
        self.is_alone = True

    def is_guilty(self, all_deaths: int, limit: int) -> bool:
        """Whether its own deaths are too many, and most of all since its first.

        Where machines are taken away all the time, a long task is hit again and again by no fault of its own.
        """
        if self.deaths < limit:
            return False
        others = all_deaths - self.deaths_before - self.deaths
        if 2 * others >= self.deaths and self.acquittals < _MAX_ACQUITTALS:
            self.acquittals += 1
            self.deaths = 0
        return self.deaths > 0


class Backlog:
    """Every task that is not finished.

    Args:
        max_task_retries: Runners that a task may kill before its episodes are played one by one.
    """

    def __init__(self, max_task_retries: int) -> None:
        self._max_deaths = max(1, max_task_retries)
        self._work: dict[Task, _Work] = {}
        self._unfinished: set[Task] = set()
        self._pending: deque[Task] = deque()
        # Those that belong to a runner and were not sent to it yet, the oldest first.
        self._owned: dict[RunnerId, list[Task]] = {}
        # Second tries and audits, with the runners that should not be the ones to do them.
        self._elsewhere: deque[tuple[Task, set[RunnerId]]] = deque()
        # Tasks that killed again, with the time at which they may be tried once more.
        self._quarantine: deque[tuple[float, Task]] = deque()
        self._rounds = 0
        self._deaths = 0

    # Questions.

    @property
    def is_done(self) -> bool:
        """Whether every task has all the answers that it needs."""
        return not self._unfinished

    def is_finished(self, task: Task) -> bool:
        """Whether a task has all the answers that it needs."""
        return task not in self._unfinished

    @property
    def num_pending(self) -> int:
        """Tasks to be handed out, at most: some may be done meanwhile."""
        return len(self._pending)

    @property
    def has_elsewhere(self) -> bool:
        """Whether second tries or audits wait for a runner."""
        return bool(self._elsewhere)

    def head(self) -> Task | None:
        """The next task that is still to be done."""
        while self._pending:
            work = self._work.get(self._pending[0])
            if work is not None and work.answer is None:
                return self._pending[0]
            self._pending.popleft()
        return None

    def owners_among(self, runners: Collection[RunnerId]) -> list[RunnerId]:
        """Those of these runners that own tasks which were not sent to them yet."""
        return sorted(self._owned.keys() & runners)

    def is_alone(self, tasks: Sequence[Task]) -> bool:
        """Whether one of these killed a runner: nothing waits behind it, nor it behind anything."""
        return any(self._work[task].is_alone for task in tasks)

    def comes_before_pending(self, task: Task) -> bool:
        """Whether it is of an earlier iteration than all pending ones."""
        head = self.head()
        return head is None or self._work[task].round < self._work[head].round

    def that_help_may_do(self, runner: RunnerId, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """Those of a runner's tasks that another may do at the same time.

        Not what killed a runner already: one that kills must not take its helpers along, for ever.
        """
        return tuple(
            task
            for task in tasks
            if (work := self._work[task]).answer is None
            and work.holders == {runner}
            and not (work.is_alone or work.failed_on)
        )

    # What is handed out.

    def add(
        self, tasks: Sequence[Task], audited: Collection[Task], owners: Sequence[RunnerId | None] = ()
    ) -> None:
        """The tasks of an iteration, to be done after those of earlier ones; questions before those."""
        twice, questions = set(audited), list[Task]()
        for task, owner in zip(tasks, owners or [None] * len(tasks), strict=True):
            self._work[task] = _Work(-1 if task.question else self._rounds, needs_second=task in twice)
            if owner is not None:
                self._owned.setdefault(owner, []).append(task)
            else:
                (questions if task.question else self._pending).append(task)
        self._unfinished.update(tasks)
        self._pending.extendleft(reversed(questions))
        self._rounds += 1

    def next_owned(self, owner: RunnerId) -> tuple[Task, ...]:
        """What a runner owns, the oldest and all that may travel with it: it answers quickly."""
        owned = self._owned.pop(owner, [])
        tasks = tuple(itertools.takewhile(lambda task: _go_together(task, owned[0]), owned))
        if len(tasks) < len(owned):
            self._owned[owner] = owned[len(tasks) :]
        return tasks

    def disown(self, owner: RunnerId) -> None:
        """A runner is gone: what it owned, and was not sent, is anybody's."""
        self._pending.extendleft(reversed(self._owned.pop(owner, [])))

    def next_call(self, count: int) -> tuple[Task, ...]:
        """The next tasks, no more than so many, that may travel together; what killed travels alone."""
        tasks: list[Task] = []
        while len(tasks) < count and (head := self.head()) is not None:
            is_alone = self._work[head].is_alone
            if tasks and (is_alone or not _go_together(head, tasks[0])):
                break
            tasks.append(self._pending.popleft())
            if is_alone:
                break
        return tuple(tasks)

    def second_tries(
        self, idle: Collection[RunnerId], ready: Collection[RunnerId]
    ) -> Iterator[tuple[RunnerId, Task]]:
        """Tasks for other runners than those that had them, each with an idle one that is to take it.

        Args:
            idle: As of now, and shorter by each that took a task when the next one is asked for.
        """
        for _ in range(len(self._elsewhere)):
            if not idle:
                return
            task, avoided = self._elsewhere.popleft()
            if task not in self._unfinished:
                continue  # one that was withdrawn too late has answered
            other = next((runner for runner in idle if runner not in avoided), None)
            if other is not None:
                yield other, task
            elif avoided.issuperset(ready):
                yield next(iter(idle)), task
            else:
                self._elsewhere.append((task, avoided))

    def hold(self, tasks: Sequence[Task], runner: RunnerId) -> None:
        """A runner is given these."""
        for task in tasks:
            self._work[task].holders.add(runner)

    def withdraw(self, tasks: Sequence[Task], runner: RunnerId) -> tuple[Task, ...]:
        """A runner need not begin with these; those of them that others have to do."""
        for task in tasks:
            self._work[task].holders.discard(runner)
            self._work[task].withdrawn.add(runner)
        return tuple(task for task in tasks if self._work[task].answer is None)

    def release(self, tasks: Sequence[Task], runner: RunnerId) -> None:
        """A runner that held these did not begin with them, and is not to blame, nor are they."""
        for task in reversed(tasks):
            work = self._work[task]
            if runner in work.withdrawn:
                work.withdrawn.discard(runner)
            else:
                work.holders.discard(runner)
                if work.answer is not None:
                    self._ask_for_second(task, work)
                elif not work.holders:
                    self._do_again(task, work)
            self._forget_if_finished(task, work)

    # What came of it: at most one command for each task.

    def answer(self, task: Task, runner: RunnerId, digest: str | None) -> Command | None:
        """A runner gave an answer with this digest; None: an environment failed."""
        work = self._work[task]
        was_withdrawn = runner in work.withdrawn
        (work.withdrawn if was_withdrawn else work.holders).discard(runner)
        command: Command | None = None
        if digest is None:
            if not was_withdrawn:
                command = self._fail(task, work, runner)
        elif work.answer is None:
            work.answer = (digest, runner)
            if work.parent is not None:
                self._part_is_harmless(task, work.parent)
            else:
                self._ask_for_second(task, work)
                command = Accept(task)
        else:
            work.needs_second = False
            if work.answer[0] != digest:
                command = Differ(task, (work.answer[1], runner))
        self._forget_if_finished(task, work)
        return command

    def _fail(self, task: Task, work: _Work, runner: RunnerId) -> Command | None:
        """An environment raised an exception, which is the same everywhere unless the runner is at fault."""
        failed_twice = bool(work.failed_on)
        work.failed_on.add(runner)
        if work.holders or (work.answer is not None and not work.needs_second):
            return None
        if not failed_twice:
            self._do_elsewhere(task, work)
            return None
        if work.answer is None:
            return GiveUp(task, "failed")
        # It did not fail before: once is the runner's own trouble, twice is a difference.
        work.needs_second = False
        return Differ(task, (work.answer[1], runner))

    def lose(
        self, runner: RunnerId, tasks: Sequence[Task], next_tasks: Sequence[Task], now: float
    ) -> list[Command]:
        """A ready runner is gone: its call, then what waited, then what it owned are others' now."""
        self.disown(runner)
        self.release(next_tasks, runner)
        commands = [self._orphan(task, runner, now) for task in reversed(tasks)]
        self._deaths += 1
        return [command for command in commands if command is not None]

    def _orphan(self, task: Task, runner: RunnerId, now: float) -> Command | None:
        work = self._work[task]
        if runner in work.withdrawn:
            self.release((task,), runner)
            return None
        work.holders.discard(runner)
        if work.answer is not None:
            # An audit is worth a few runners, and no more.
            work.deaths += 1
            work.needs_second &= work.deaths < self._max_deaths or bool(work.holders)
            self._ask_for_second(task, work)
            self._forget_if_finished(task, work)
            return None
        work.note_death(self._deaths)
        if work.holders:
            return None
        if work.is_guilty(self._deaths + 1, self._max_deaths):
            return self._search(task, work, now)
        if work.deaths == 1 or work.failed_on:
            self._do_again(task, work)
        else:
            self._quarantine.append((now + QUARANTINE_S, task))
        return None

    def _search(self, task: Task, work: _Work, now: float) -> Command:
        """Find the episode that kills runners. One that is known by name already has to do it all again."""
        if work.was_searched or work.parent is not None:
            return GiveUp(task, "died")
        work.was_searched, work.deaths = True, 0
        if task.num_episodes == 1:
            self._quarantine.append((now + QUARANTINE_S, task))
            return Search(task)
        episodes = range(task.first_episode, task.first_episode + task.num_episodes)
        work.parts = {task._replace(first_episode=episode, num_episodes=1) for episode in episodes}
        for part in sorted(work.parts, reverse=True):
            self._work[part] = _Work(work.round, parent=task, is_alone=True)
            self._unfinished.add(part)
            self._pending.appendleft(part)
        return Search(task)

    def _part_is_harmless(self, part: Task, parent: Task) -> None:
        work = self._work[parent]
        work.parts.discard(part)
        if not work.parts:
            # None kills alone: the deaths were an accident, or come from all of them together. The answer
            # must come from the task as a whole, since its episodes share their forward passes.
            self._pending.appendleft(parent)

    def end_quarantine(self, now: float) -> None:
        """Whatever has waited for long enough is next."""
        while self._quarantine and self._quarantine[0][0] <= now:
            self._pending.appendleft(self._quarantine.popleft()[1])

    def _do_again(self, task: Task, work: _Work) -> None:
        if work.failed_on:
            self._do_elsewhere(task, work)
        else:
            self._pending.appendleft(task)

    def _ask_for_second(self, task: Task, work: _Work) -> None:
        if work.needs_second and not work.holders:
            self._do_elsewhere(task, work)

    def _do_elsewhere(self, task: Task, work: _Work) -> None:
        answered = set() if work.answer is None else {work.answer[1]}
        self._elsewhere.append((task, work.failed_on | answered))

    def _forget_if_finished(self, task: Task, work: _Work) -> None:
        """Once it has its answers, and nobody holds it, there is no more to know."""
        if work.answer is not None and not work.needs_second:
            self._unfinished.discard(task)
            if not work.holders and not work.withdrawn:
                del self._work[task]


def _go_together(one: Task, other: Task) -> bool:
    """Whether one call may have both: it is for one set of weights, and asks for one thing."""
    return (one.weights_seq_no, one.question) == (other.weights_seq_no, other.question)
