"""One driver of many runners in virtual time: the real dispatcher, with measured costs around it."""

import functools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any, Literal

from benchmarks.virtual_runners import Clock, Core, Costs, Node, Workload
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch import messages
from distpg.dispatch.dispatcher import Dispatcher


class Driver:
    """The process that trains, as one server: what arrives waits until it is done with what came before.

    As on Ray it takes all that has arrived, one after the other, before it looks whether an iteration is
    complete. ``marks`` has sums up to the end of each: the time, the seconds that runners, nodes and itself
    worked (calls, rounds of its loop, learner), the bytes that it was given, and the steps played.
    """

    def __init__(self, workload: Workload, costs: Costs, runners: int, lag: int, iterations: int) -> None:
        self._workload, self._costs, self._lag, self._iterations = workload, costs, lag, iterations
        self._num_tasks = runners * workload.tasks_each
        self._episodes = self._num_tasks * workload.episodes_per_task
        self._steps = workload.steps_of_tasks(self._num_tasks * iterations)
        clock, size = Clock(), workload.per_node
        deliver = functools.partial(self._do_later, self._take)
        self._clock = clock
        self._cores = [Core(n, clock, self._steps_of, workload.step_s) for n in range(runners)]
        self.nodes = [Node(clock, costs, deliver) for _ in range(0, runners, size)] if size else []
        self._node_of = [self.nodes[n // size] if size else None for n in range(runners)]
        self._time = 0.0  # what it has worked up to: ahead of the clock within a job
        self._jobs: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._batch = self._jobs.copy()
        self._is_serving = False
        self._told: set[Node] = set()
        self._added = self._iteration = 0
        self._missing: Counter[int] = Counter()
        self._second_pass: Literal["begun", "done"] | None = None
        self._played: dict[int, Counter[int]] = defaultdict(Counter)
        self._dispatcher = Dispatcher(messages.Rules(num_runners=runners))
        self._spent: Counter[str] = Counter()
        self.dispatcher_s = 0.0  # of this machine, in truth
        self.answered: list[tuple[Task, int]] = []  # by which runner, in the order of arrival
        self.marks: list[Counter[str]] = []

    def run(self) -> list[Counter[str]]:
        self._dispatcher.handle(messages.TimePassed(), 0.0)
        for number, (core, node) in enumerate(zip(self._cores, self._node_of, strict=True)):
            core.report = self._hear if node is None else node.hear
            self._dispatcher.handle(messages.Joined(number), 0.0)
        self._do_later(self._add)
        while len(self.marks) < self._iterations:
            self._clock.next_event()
        return self.marks

    def _steps_of(self, task: Task) -> int:
        return self._steps[task.first_episode // self._workload.episodes_per_task]

    # One job after the other.

    def _do_later(self, job: Callable[..., None], *arguments: Any) -> None:
        self._jobs.append((job, arguments))
        if not self._is_serving:
            self._is_serving = True
            self._clock.at(self._clock.now, self._serve)

    def _serve(self) -> None:
        self._time = self._clock.now
        if self._batch or not self._advance():
            if not self._batch:
                self._is_serving = bool(self._jobs)
                if not self._jobs:
                    return
                self._batch, self._jobs = self._jobs, self._batch
                working = self._dispatcher.num_ready - len(self._dispatcher._fleet.idle)
                self._spend("rounds", self._costs.wait_s * (len(self.nodes) or working))
            job, arguments = self._batch.popleft()
            job(*arguments)
        self._clock.at(self._time, self._serve)

    def _spend(self, what: str, seconds: float) -> None:
        self._time += seconds
        self._spent[what] += seconds

    def _spend_on_answers(self, calls: int, tasks: int, size: float) -> None:
        more = self._costs.task_s * max(0, tasks - calls)
        self._spend("calls", calls * self._costs.call_s / 2 + more + self._costs.byte_s * size)
        self._spent["bytes"] += size

    # What the dispatcher is told and orders.

    def _hear(self, report: messages.Report) -> None:
        self._clock.at(self._clock.now + self._costs.latency_s, self._do_later, self._take, None, [report])

    def _take(self, node: Node | None, reports: list[messages.Report]) -> None:
        """A message; all that is ordered to its node goes back in one."""
        answers = [report for report in reports if isinstance(report, messages.Answered)]
        tasks, steps = sum(len(answer.digests) for answer in answers), sum(answer.steps for answer in answers)
        is_small, costs = self._workload.on_runners, self._costs
        self._spend_on_answers(1, tasks, costs.task_bytes * tasks if is_small else costs.step_bytes * steps)
        self._told = set()
        for report in reports:
            self._advise(report)
        if node is not None:
            self._order(node, node.tell)

    def _order(self, node: Node | None, action: Callable[..., None], *arguments: Any) -> None:
        """To a runner each by itself, to a node all at once; it acts when that has arrived."""
        if node is None or node not in self._told:
            self._spend("calls", self._costs.call_s / 2)
        if node is not None:
            self._told.add(node)
        self._clock.at(self._time + self._costs.latency_s, action, *arguments)

    def _advise(self, report: messages.Report) -> None:
        started = time.thread_time()
        commands = self._dispatcher.handle(report, self._time)
        self.dispatcher_s += time.thread_time() - started
        for command in commands:
            match command:
                case messages.Send(number, tasks):
                    self._order(self._node_of[number], self._cores[number].give, tasks)
                case messages.Withdraw(number):
                    self._clock.at(self._time + self._costs.latency_s, self._cores[number].withdraw)
                case messages.Accept(task):
                    assert isinstance(report, messages.Answered)
                    self.answered.append((task, report.runner))
                    iteration, steps = task.first_episode // self._episodes, self._steps_of(task)
                    self._missing[iteration] -= 1
                    self._played[iteration][report.runner] += steps
                    self._spent["steps"] += steps
                case _:
                    raise AssertionError(f"nothing fails, and nobody is late: {command}")

    # Iterations.

    def _add(self) -> None:
        """Whatever has its weights."""
        self._told = set()
        while self._added < min(self._iterations, self._iteration + self._lag + 1):
            weights = max(0, self._added - self._lag)
            per_task = self._workload.episodes_per_task
            tasks = tasks_of_iteration(self._added, self._episodes, per_task, weights)
            self._missing[self._added] = len(tasks)
            self._added += 1
            self._advise(messages.Added(tuple(tasks)))

    def _advance(self) -> bool:
        """Begin the second pass, or learn, once all is there; whether it was."""
        if self._iteration == self._added or self._missing[self._iteration] or self._second_pass == "begun":
            return False
        costs = self._costs
        if not self._workload.on_runners:
            self._learn(costs.learn_s * sum(self._played[self._iteration].values()))
        elif self._second_pass is None:
            self._begin_second_pass(self._played[self._iteration])
        else:
            self._learn(costs.sum_add_s * len(self.nodes) or costs.vectors_add_s * self._num_tasks)
        return True

    def _begin_second_pass(self, played: Counter[int]) -> None:
        """A call to each node or runner for the gradient of what it played, all at once."""
        costs, calls, tasks = self._costs, len(self.nodes), 0
        size, each = costs.sum_bytes * calls, costs.combine_s * self._num_tasks + costs.call_s * len(played)
        if not self.nodes:
            calls, tasks, size = len(played), self._num_tasks, costs.vectors_bytes * self._num_tasks
        self._spend("calls", calls * costs.call_s / 2)
        self._spend_on_answers(calls, tasks, size)
        for runner, steps in played.items():
            self._cores[runner].work(costs.gradient_s * steps)
        played_s = self._clock.now + costs.gradient_s * max(played.values())
        combined_s = max((node.work(each / calls) for node in self.nodes), default=0.0)
        self._second_pass = "begun"
        done = max(played_s, combined_s) + 2 * costs.latency_s
        self._clock.at(max(done, self._time), self._do_later, self._end_second_pass)

    def _end_second_pass(self) -> None:
        self._second_pass = "done"

    def _learn(self, seconds: float) -> None:
        runners, nodes = (sum(part.busy_s for part in parts) for parts in (self._cores, self.nodes))
        self.marks.append(Counter(self._spent, time=self._clock.now, runners=runners, nodes=nodes))
        self._spend("learner", seconds + self._costs.update_s)
        del self._played[self._iteration]
        self._iteration, self._second_pass = self._iteration + 1, None
        self._add()
