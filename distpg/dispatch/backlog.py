"""Tasks that are not finished: what is known of each, and which is to be done next."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from distpg.core.tasks import Task
from distpg.dispatch.messages import RunnerId

# What killed twice waits so long. Where a node is lost, the deaths of all its runners are known by then: else
# its last task would be given to one of the dead after the other, and seem to have killed them.
QUARANTINE_S = 1.0
# So often deaths are put down to a bad day.
_MAX_ACQUITTALS = 5


@dataclass
class Work:
    """A task that is not finished.

    Attributes:
        round: With how many others its iteration was added before: the lower, the sooner it is needed.
        deaths_before: Deaths of all runners before this task's first one.
        acquittals: How often its deaths were put down to a bad day.
        failed_on: Runners on which an episode of it failed.
        answer: Digest of the first answer, and who gave it.
        holders: Runners that work on it, or have it wait behind another call.
        withdrawn: Runners that may leave it out, since others do it now, but have not said so.
        parent: The task whose killing episode this one is played to find.
        parts: Such episodes still out, for the parent.
    """

    round: int
    deaths: int = 0
    deaths_before: int = 0
    acquittals: int = 0
    failed_on: set[RunnerId] = field(default_factory=set)
    is_alone: bool = False
    was_searched: bool = False
    answer: tuple[str, RunnerId] | None = None
    needs_second: bool = False
    holders: set[RunnerId] = field(default_factory=set)
    withdrawn: set[RunnerId] = field(default_factory=set)
    parent: Task | None = None
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
    """Every task that is not finished, and the order in which they are to be done."""

    def __init__(self) -> None:
        self.work: dict[Task, Work] = {}
        self.unfinished: set[Task] = set()
        self.pending: deque[Task] = deque()
        # Second tries and audits, with the runners that should not be the ones to do them.
        self.elsewhere: deque[tuple[Task, set[RunnerId]]] = deque()
        # Tasks that killed again, with the time at which they may be tried once more.
        self._quarantine: deque[tuple[float, Task]] = deque()
        self._rounds = 0

    def add(self, tasks: Sequence[Task], audited: Collection[Task]) -> None:
        """The tasks of an iteration, to be done after those of earlier ones."""
        for task in tasks:
            self.work[task] = Work(self._rounds, needs_second=task in audited)
        self.unfinished.update(tasks)
        self.pending.extend(tasks)
        self._rounds += 1

    def add_parts(self, task: Task) -> None:
        """A task's episodes one by one, before everything else."""
        work = self.work[task]
        episodes = range(task.first_episode, task.first_episode + task.num_episodes)
        work.parts = {Task(episode, 1, task.weights_seq_no) for episode in episodes}
        for part in sorted(work.parts, reverse=True):
            self.work[part] = Work(work.round, parent=task, is_alone=True)
            self.unfinished.add(part)
            self.pending.appendleft(part)

    def quarantine(self, task: Task, now: float) -> None:
        """Do it later."""
        self._quarantine.append((now + QUARANTINE_S, task))

    def end_quarantine(self, now: float) -> None:
        """Whatever has waited for long enough is next."""
        while self._quarantine and self._quarantine[0][0] <= now:
            self.pending.appendleft(self._quarantine.popleft()[1])

    def release(self, task: Task, runner: RunnerId) -> None:
        """A runner that held it did not begin with it, and is not to blame, nor is the task."""
        work = self.work[task]
        if runner in work.withdrawn:
            work.withdrawn.discard(runner)
            self.forget_if_finished(task)
            return
        work.holders.discard(runner)
        if work.answer is not None:
            if work.needs_second and not work.holders:
                self.elsewhere.append((task, {work.answer[1]}))
            self.forget_if_finished(task)
        elif not work.holders:
            if work.failed_on:
                self.elsewhere.append((task, work.failed_on))
            else:
                self.pending.appendleft(task)

    def forget_if_finished(self, task: Task) -> None:
        """Once it has its answers, and nobody holds it, there is no more to know."""
        work = self.work[task]
        if work.answer is not None and not work.needs_second:
            self.unfinished.discard(task)
            if not work.holders and not work.withdrawn:
                del self.work[task]

    def head(self) -> Task | None:
        """The next task that is still to be done."""
        while self.pending:
            work = self.work.get(self.pending[0])
            if work is not None and work.answer is None:
                return self.pending[0]
            self.pending.popleft()
        return None

    def next_call(self, count: int) -> tuple[Task, ...]:
        """The next tasks, no more than so many, for one set of weights; what killed travels alone."""
        tasks: list[Task] = []
        while len(tasks) < count and (head := self.head()) is not None:
            is_alone = self.work[head].is_alone
            if tasks and (is_alone or head.weights_seq_no != tasks[0].weights_seq_no):
                break
            tasks.append(self.pending.popleft())
            if is_alone:
                break
        return tuple(tasks)
