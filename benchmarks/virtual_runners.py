"""Runners and nodes in virtual time, and what measured pieces cost."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from distpg.core.tasks import Task
from distpg.dispatch import messages

# An answer waits at its node for others, for this share of the time that it took, or so long.
GATHER, LONGEST_GATHER_S = 1 / 8, 0.25
NUMBERS = 3 * 898 + 16  # that a gradient has: three vectors of a policy 4-128-2, and a few sums


@dataclass(frozen=True)
class Costs:
    """Measured pieces: seconds of one core, and bytes."""

    call_s: float = 0.27e-3  # of the driver: a call with one task, there and back
    task_s: float = 0.014e-3  # each further task of a call
    wait_s: float = 1e-6  # each call in flight, whenever the driver asks Ray which are done
    byte_s: float = 1.5e-9  # each byte of an answer
    latency_s: float = 0.5e-3  # one way, and nobody's processor time
    step_bytes: float = 25.0  # of an answer, where the learner computes the gradient
    learn_s: float = 0.25e-6  # of the learner, then, for a step
    update_s: float = 0.8e-3  # of the learner, whatever the size of the batch
    task_bytes: float = 300.0  # of an answer in the first pass, where runners compute the gradient
    gradient_s: float = 1 / 14e6  # of a runner, then, for a step in the second pass
    vectors_bytes: float = 8.0 * NUMBERS  # of a task's gradient
    vectors_add_s: float = 2e-6  # of the learner, to add it
    combine_s: float = 0.08e-3  # of a node's combiner, to make it exact and to add it
    sum_bytes: float = 20.0 + 4 * 4 * NUMBERS  # of a node's exact sum
    sum_add_s: float = 0.05e-3  # of the learner, to read and to add it


@dataclass(frozen=True)
class Workload:
    """What is played, and where the gradient is computed.

    Attributes:
        lengths: Of episodes: all of ``mean_steps``, or lognormal with sigma = 1 about that mean.
        per_node: Runners whose answers are combined on their way to the driver; None: none are.
    """

    step_s: float
    mean_steps: int
    lengths: Literal["constant", "lognormal"] = "constant"
    episodes_per_task: int = 1
    tasks_each: int = 4
    on_runners: bool = False
    per_node: int | None = None

    def steps_of_tasks(self, number: int) -> list[int]:
        """Of the first tasks of a run."""
        drawn = np.ones((number, 1))
        if self.lengths == "lognormal":
            drawn = np.random.default_rng(0).lognormal(-0.5, 1.0, (number, self.episodes_per_task))
        return (self.episodes_per_task * self.mean_steps * drawn.mean(axis=1)).astype(int).tolist()


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (when, next(self._numbers), action, arguments))

    def next_event(self) -> None:
        self.now, _, action, arguments = heapq.heappop(self._queue)
        action(*arguments)


class Worker:
    """One processor: it does one thing after the other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._given_s = self._free_at = 0.0

    def work(self, seconds: float) -> float:
        """When it will have done this too."""
        self._given_s += seconds
        self._free_at = max(self._free_at, self._clock.now) + seconds
        return self._free_at

    @property
    def busy_s(self) -> float:
        return self._given_s - max(0.0, self._free_at - self._clock.now)


class Core(Worker):
    """A runner's: it works on one call, while another may wait; a second thread takes gradients at once."""

    report: Callable[[messages.Report], None]

    def __init__(self, number: int, clock: Clock, steps_of: Callable[[Task], int], step_s: float) -> None:
        super().__init__(clock)
        self._number, self._steps_of, self._step_s = number, steps_of, step_s
        self._calls: deque[tuple[Task, ...]] = deque()
        self._is_withdrawn = False

    def give(self, tasks: tuple[Task, ...]) -> None:
        self._calls.append(tasks)
        if len(self._calls) == 1:
            self._begin()

    def withdraw(self) -> None:
        self._is_withdrawn = len(self._calls) == 2  # else it has begun, and will answer

    def _begin(self) -> None:
        steps = sum(map(self._steps_of, self._calls[0]))
        self._clock.at(self.work(self._step_s * steps), self._answer, steps)

    def _answer(self, steps: int) -> None:
        if self._clock.now < self._free_at:  # a gradient came between
            self._clock.at(self._free_at, self._answer, steps)
            return
        digests = ("",) * len(self._calls.popleft())
        self.report(messages.Answered(self._number, self._step_s * steps, steps, digests))
        if self._is_withdrawn:
            self._calls.popleft()
            self.report(messages.Skipped(self._number))
        elif self._calls:
            self._begin()
        self._is_withdrawn = False


class Node(Worker):
    """Combines what its runners report into messages to the driver, of which one at a time is on its way."""

    def __init__(self, clock: Clock, costs: Costs, deliver: Callable[..., None]) -> None:
        super().__init__(clock)
        self._costs, self._deliver = costs, deliver
        self._said: list[messages.Report] = []
        self._is_waiting = False

    def hear(self, report: messages.Report) -> None:
        self._clock.at(self.work(self._costs.call_s), self._note, report)

    def _note(self, report: messages.Report) -> None:
        self._said.append(report)
        if not self._is_waiting:
            self._is_waiting = True
            took = report.seconds if isinstance(report, messages.Answered) else 0.0
            self._clock.at(self._clock.now + min(GATHER * took, LONGEST_GATHER_S), self.tell)

    def tell(self) -> None:
        """All that was said since; the driver has taken what it was told before."""
        said, self._said = self._said, []
        self._is_waiting = bool(said)
        if said:
            self._clock.at(self._clock.now + self._costs.latency_s, self._deliver, self, said)
