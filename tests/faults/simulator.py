"""The real dispatcher, driven by simulated runners in virtual time under seeded faults.

``scripts/bench simulator`` runs many schedules and prints what happened; ``--seed N --schedules 1`` runs one.
"""

import argparse
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.messages import (
    Accept,
    Added,
    Answered,
    Ask,
    Command,
    Died,
    Differ,
    GiveUp,
    Heard,
    Join,
    Joined,
    Placed,
    Report,
    Rules,
    Search,
    Send,
    Skipped,
    Start,
    Stop,
    TimePassed,
    Withdraw,
)

TICK_S = 0.25
HEARTBEAT_S = 0.002
# A question takes so much of the time that its episodes take; where they are not at hand, that time as well.
QUESTION_SHARE = 0.1


@dataclass(frozen=True)
class Scenario:
    """Faults are chances: per second of the whole fleet, per call, per start, or per episode."""

    runners: int = 4
    iterations: int = 2
    episodes: int = 12
    episodes_per_task: int = 2
    step_s: float = 0.001
    mean_steps: int = 50
    deaths_per_s: float = 0.0
    freezes_per_s: float = 0.0
    thaw: float = 0.0
    slow_runners: float = 0.0
    mass_losses_per_s: float = 0.0
    bad_starts: float = 0.0
    wrong: float = 0.0
    transient_failures: float = 0.0
    failing_episode: int | None = None
    deadly_episode: int | None = None
    hanging_episode: int | None = None
    audit_every: int = 0
    recycle_after: int | None = None
    start_s: float = 0.5
    waits_for_room: bool = False
    starts_at_once: int | None = None
    policy_lag: int = 0
    asks: bool = False
    """Whether a question is asked about each iteration's episodes, of those whose answers were accepted."""


def random_scenario(rng: random.Random) -> Scenario:
    """Most are small, so that there is time for many."""
    runners = rng.choice([1, 1, 2, 2, 3, 4, 8])
    episodes = rng.choice([1, 2, 5, 12, 24])
    if rng.random() < 0.001:
        runners, episodes = rng.choice([(100, 400), (1000, 2000)])

    def sometimes(value: float) -> float:
        return value if rng.random() < 0.35 else 0.0

    poison = rng.choice([None] * 9 + ["failing_episode", "deadly_episode", "hanging_episode"])
    return Scenario(
        runners=runners,
        iterations=rng.choice([1, 2, 3]),
        episodes=episodes,
        episodes_per_task=rng.choice([1, 1, 2, 4]),
        mean_steps=rng.choice([5, 50, 400]),
        deaths_per_s=sometimes(rng.choice([0.5, 2.0])),
        freezes_per_s=sometimes(rng.choice([0.2, 1.0])),
        thaw=rng.random(),
        slow_runners=sometimes(0.3),
        mass_losses_per_s=sometimes(0.1),
        bad_starts=sometimes(0.3),
        wrong=sometimes(0.2),
        transient_failures=sometimes(0.02),
        audit_every=rng.choice([0, 1, 3]),
        recycle_after=rng.choice([None, None, 1, 5]),
        policy_lag=rng.choice([0, 0, 1, 2]),
        waits_for_room=rng.random() < 0.3,
        starts_at_once=rng.choice([None, None, 1, 3]),
        **({} if poison is None else {poison: rng.randrange(episodes)}),
        asks=rng.random() < 0.7,
    )


class BrokenPromiseError(AssertionError):
    """The dispatcher broke a promise."""


@dataclass
class SimulatedRunner:
    speed: float
    joined: bool = False
    frozen: bool = False
    hangs: bool = False
    call: int = 0
    tasks: tuple[Task, ...] = ()
    waiting: tuple[Task, ...] = ()
    withdrawn: bool = False
    since: float = 0.0
    has: set[Task] = field(default_factory=set)


@dataclass
class Outcome:
    """What came of a schedule."""

    seconds: float = 0.0
    busy_s: float = 0.0
    accepted: int = 0
    gave_up: GiveUp | None = None
    ends: list[tuple[float, float]] = field(default_factory=list)
    """Of each iteration: the time, and the seconds that runners had worked by then."""
    counts: Counter = field(default_factory=Counter)


class Simulation:
    def __init__(self, scenario: Scenario, seed: int, lengths: Callable[[int], int] | None = None) -> None:
        self.scenario = scenario
        self.rng = random.Random(seed)
        self.lengths = lengths or self._drawn_length
        self._length_of: dict[int, int] = {}
        self.audited: set[Task] = set()
        self.rules = Rules(
            num_runners=scenario.runners,
            silent_after_s=4.0,
            start_timeout_s=10.0,
            recycle_after=scenario.recycle_after,
            waits_for_room=scenario.waits_for_room,
            starts_at_once=scenario.starts_at_once,
        )
        self.dispatcher = Dispatcher(self.rules)
        self.advise = self.dispatcher.handle
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.runners: dict[int, SimulatedRunner] = {}
        self.plans: list[list[Task]] = []
        self.planned: set[Task] = set()
        self.iteration = 0
        self.given_up: list[GiveUp] = []
        self.accepted: dict[Task, str] = {}
        self.answers: dict[Task, set[str]] = {}
        self._last_digest: dict[Task, str] = {}
        self._last_runner: dict[Task, int] = {}
        self.answered_by: dict[Task, int] = {}
        self.differing: set[Task] = set()
        self.outcome = Outcome()
        self.events = 0

    def _drawn_length(self, episode: int) -> int:
        if episode not in self._length_of:
            mean = self.scenario.mean_steps
            self._length_of[episode] = 1 + int(random.Random(episode).expovariate(1 / mean))
        return self._length_of[episode]

    def _audited(self, tasks: Sequence[Task]) -> set[Task]:
        every = self.scenario.audit_every
        audited = {task for task in tasks if every and task.first_episode % every == 0}
        self.audited |= audited
        return audited

    def run(self) -> Outcome:
        scenario = self.scenario
        self._plan_faults()
        self._handle(TimePassed())
        self._after(TICK_S, self._tick)
        for self.iteration in range(scenario.iterations):
            self._add_what_may_run()
            plan = self.plans[self.iteration]
            self._wait_for(plan)
            if scenario.asks and self.outcome.gave_up is None:
                self._ask_about(plan)
            if self.outcome.gave_up is not None:
                break
            self.outcome.accepted += sum(task.num_episodes for task in plan)
            started = sum(self.now - runner.since for runner in self.runners.values() if runner.tasks)
            self.outcome.ends.append((self.now, self.outcome.busy_s + started))
        self._check_end()
        self.outcome.seconds = self.now
        return self.outcome

    def _wait_for(self, plan: list[Task]) -> None:
        unfinished = list(plan)
        while unfinished and self.outcome.gave_up is None:
            if self.dispatcher.is_finished(unfinished[-1]):
                unfinished.pop()
                continue
            self._next_event()
            self._look_for_surrender(plan)
        if self.outcome.gave_up is not None:
            return
        if not self.accepted.keys() >= set(plan):
            raise BrokenPromiseError(f"of iteration {self.iteration} not all tasks are accepted")
        for task in plan:
            if task in self.audited and len(self.answers[task]) > 1 and task not in self.differing:
                raise BrokenPromiseError(f"{task} was audited and its answers differ, unnoticed")

    def _ask_about(self, plan: list[Task]) -> None:
        """A second pass over the episodes of an iteration, by those that have them as far as they live."""
        questions = [task._replace(question=1) for task in plan]
        owners = [self.answered_by[task] for task in plan]
        self._add(questions, owners)
        self._wait_for(questions)
        if self.outcome.gave_up is None:
            self.outcome.counts["questions"] += len(questions)
            by_owners = sum(self.answered_by[q] == owner for q, owner in zip(questions, owners, strict=True))
            self.outcome.counts["questions to owners"] += by_owners

    def _add(self, tasks: list[Task], owners: Sequence[int | None] = ()) -> None:
        self.planned.update(tasks)
        self._apply(self.advise(Added(tuple(tasks), tuple(self._audited(tasks)), tuple(owners)), self.now))
        self._look_for_broken_promises()

    def _add_what_may_run(self) -> None:
        scenario = self.scenario
        while len(self.plans) < min(scenario.iterations, self.iteration + scenario.policy_lag + 1):
            number = len(self.plans)
            seq_no = max(0, number - scenario.policy_lag)
            plan = tasks_of_iteration(number, scenario.episodes, scenario.episodes_per_task, seq_no)
            self.plans.append(plan)
            self._add(plan)

    def _look_for_surrender(self, plan: list[Task]) -> None:
        """One to a task of a later iteration must not keep this one from its end."""
        end = plan[-1].first_episode + plan[-1].num_episodes
        for gave_up in self.given_up:
            if gave_up.task is None or gave_up.task.first_episode < end:
                self.outcome.gave_up = gave_up

    def _check_end(self) -> None:
        scenario, gave_up = self.scenario, self.outcome.gave_up
        poisons = {
            scenario.failing_episode: "failed",
            scenario.deadly_episode: "died",
            scenario.hanging_episode: "died",
        }
        poisons.pop(None, None)
        if gave_up is None:
            if poisons:
                raise BrokenPromiseError("an episode that cannot be played was accepted")
            return
        if gave_up.task is None:
            if not (scenario.bad_starts or scenario.deaths_per_s or scenario.mass_losses_per_s):
                raise BrokenPromiseError("no runner starts, though all do")
            return
        # Three faults in a row at one task, and few elsewhere, cannot be told from a task that kills.
        unlucky = self.outcome.counts["killed"] + self.outcome.counts["frozen"] > 2
        episodes = range(gave_up.task.first_episode, gave_up.task.first_episode + gave_up.task.num_episodes)
        if gave_up.why == "failed":
            named = scenario.failing_episode in episodes or scenario.transient_failures > 0
        else:
            named = bool(set(episodes) & set(poisons)) or unlucky
        if not named:
            raise BrokenPromiseError(f"gave up {gave_up}, which is harmless")

    def _plan_faults(self) -> None:
        scenario = self.scenario
        for rate, fault in (
            (scenario.deaths_per_s, self._kill_one),
            (scenario.freezes_per_s, self._freeze_one),
            (scenario.mass_losses_per_s, self._kill_many),
        ):
            if rate:
                self._repeat(rate, fault)

    def _repeat(self, rate: float, fault: Callable[[], None]) -> None:
        def again() -> None:
            # Faults become rarer, so that work that takes longer than their distance ends too.
            fault()
            self._after(self.rng.expovariate(rate) * (1 + self.now / 20), again)

        self._after(self.rng.expovariate(rate), again)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + seconds, next(self.numbers), action))

    def _next_event(self) -> None:
        self.now, _, action = heapq.heappop(self.queue)
        self.events += 1
        if self.now > 3000 or self.events > 2_000_000:
            raise BrokenPromiseError(f"nothing ends: {self.dispatcher._backlog._work}")
        action()

    def _tick(self) -> None:
        self._handle(TimePassed())
        self._after(TICK_S, self._tick)

    def _handle(self, report: Report) -> None:
        self._apply(self.advise(report, self.now))
        self._look_for_broken_promises()

    def _look_for_broken_promises(self) -> None:
        idle = self.dispatcher._fleet.idle
        if self.dispatcher._backlog.owners_among(idle):
            raise BrokenPromiseError("a task waits while its owner is idle")
        if idle and self.dispatcher._backlog.head() is not None:
            raise BrokenPromiseError("a task waits while a runner is idle")
        if idle and self.dispatcher._fleet.with_waiting is not None:
            raise BrokenPromiseError("a call waits behind another while a runner is idle")
        if idle and self.scenario.runners <= 8:
            self._look_for_forgotten()
        if self.dispatcher.num_ready != sum(r.is_ready for r in self.dispatcher._fleet._runners.values()):
            raise BrokenPromiseError("the number of ready runners is wrong")

    def _look_for_forgotten(self) -> None:
        """Every task is done by somebody, or will be as soon as it may."""
        backlog = self.dispatcher._backlog
        if not backlog._owned.keys() <= set(self.dispatcher._fleet.ready):
            raise BrokenPromiseError("a task belongs to a runner that is gone")
        owned = (task for tasks in backlog._owned.values() for task in tasks)
        queued = {*owned, *backlog._pending, *(task for task, _ in backlog._elsewhere)}
        queued |= {task for _, task in backlog._quarantine} | {gave_up.task for gave_up in self.given_up}
        for task in backlog._unfinished - queued:
            work = backlog._work[task]
            if not (work.holders or work.parts or (work.parent and work.parent in queued)):
                raise BrokenPromiseError(f"nobody does {task}: {work}")

    def _apply(self, commands: list[Command]) -> None:
        for command in commands:
            self.outcome.counts[type(command).__name__] += 1
            if isinstance(command, Start):
                self._start(command.runner)
            elif isinstance(command, Join):
                self._join(command.runner)
            elif isinstance(command, Stop):
                self.outcome.counts[command.why] += 1
                # A frozen one may have been about to answer: late answers of the gone must change nothing.
                self.runners.pop(command.runner, None)
            elif isinstance(command, Send):
                self.outcome.counts[command.why] += 1
                if len({(task.weights_seq_no, task.question) for task in command.tasks}) > 1:
                    raise BrokenPromiseError("a call has tasks for several sets of weights, or questions")
                self._send(command)
            elif isinstance(command, Withdraw):
                self._withdraw(command.runner)
            elif isinstance(command, Ask):
                self._ask(command.runner)
            elif isinstance(command, Accept):
                if command.task in self.accepted or command.task not in self.planned:
                    raise BrokenPromiseError(f"{command.task} accepted twice, or never asked for")
                self.accepted[command.task] = self._last_digest[command.task]
                self.answered_by[command.task] = self._last_runner[command.task]
            elif isinstance(command, Differ):
                self.differing.add(command.task)
            elif isinstance(command, GiveUp):
                self.given_up.append(command)
            else:
                assert isinstance(command, Search)

    def _start(self, number: int) -> None:
        scenario = self.scenario
        self.runners[number] = SimulatedRunner(speed=self._start_speed(number))

        def placed() -> None:
            if number in self.runners:
                self._handle(Placed(number))

        if self.rng.random() < scenario.bad_starts / 4:
            self._after(self.rng.random(), lambda: self._die(number))
        else:
            self._after(scenario.start_s / 2, placed)

    def _join(self, number: int) -> None:
        scenario, fate = self.scenario, self.rng.random()
        limit = scenario.starts_at_once
        fleet = self.dispatcher._fleet
        starting = [r for r in fleet._runners.values() if r.has_turn and not r.is_ready]
        if limit is not None and len(starting) > limit:
            raise BrokenPromiseError(f"{len(starting)} runners start at once")

        def joined() -> None:
            if number in self.runners:
                self.runners[number].joined = True
                self._handle(Joined(number))

        if fate < scenario.bad_starts / 4:
            self._after(self.rng.random(), lambda: self._die(number))
        elif fate >= scenario.bad_starts:  # those between take for ever
            self._after(scenario.start_s * self.rng.random(), joined)

    def _start_speed(self, number: int) -> float:
        return 10.0 if self.rng.random() < self.scenario.slow_runners else 1.0

    def _send(self, command: Send) -> None:
        runner = self.runners.get(command.runner)
        if runner is None:
            self._after(0.01, lambda: self._handle(Died(command.runner)))
        elif runner.waiting:
            raise BrokenPromiseError("more than one call waits behind another")
        elif runner.tasks:
            runner.waiting, runner.withdrawn = command.tasks, False
        else:
            self._begin(command.runner, runner, command.tasks)

    def _withdraw(self, number: int) -> None:
        withdrawn = self.runners[number].waiting if number in self.runners else ()

        def arrive() -> None:
            runner = self.runners.get(number)
            if runner is not None and withdrawn and runner.waiting is withdrawn:
                runner.withdrawn = True  # else it has begun, and will answer

        self._after(HEARTBEAT_S if self.rng.random() < 0.8 else self.rng.expovariate(1.0), arrive)

    def _begin(self, number: int, runner: SimulatedRunner, tasks: tuple[Task, ...]) -> None:
        scenario = self.scenario
        runner.call += 1
        runner.tasks, runner.since = tasks, self.now
        steps = sum(self._steps(task) for task in tasks)
        work = sum(self._steps(task) * self._share(task, runner) for task in tasks)
        seconds = work * scenario.step_s * runner.speed
        call = runner.call
        episodes = [e for t in tasks for e in range(t.first_episode, t.first_episode + t.num_episodes)]
        if scenario.hanging_episode in episodes:
            runner.hangs = True  # it answers heartbeats, and makes no step
        elif scenario.deadly_episode in episodes:
            self._after(seconds * self.rng.random(), lambda: self._die(number))
        else:
            self._after(seconds, lambda: self._answer(number, call, steps, seconds))

    def _share(self, task: Task, runner: SimulatedRunner) -> float:
        """Of the time that it takes to play a task's episodes."""
        if not task.question:
            return 1.0
        return QUESTION_SHARE if task._replace(question=0) in runner.has else 1 + QUESTION_SHARE

    def _steps(self, task: Task) -> int:
        return sum(self.lengths(task.first_episode + k) for k in range(task.num_episodes))

    def _answer(self, number: int, call: int, steps: int, seconds: float) -> None:
        runner = self.runners.get(number)
        if runner is None or runner.call != call or not runner.tasks:
            # The process is gone, but what it sent may still be on its way.
            if runner is None:
                self._handle(Answered(number, seconds, steps, ()))
            return
        if runner.frozen:
            self._after(0.05, lambda: self._answer(number, call, steps, seconds))
            return
        digests: list[str | None] = []
        for task in runner.tasks:
            digest: str | None = f"{task.first_episode}"
            failing = self.scenario.failing_episode
            if (
                failing is not None and 0 <= failing - task.first_episode < task.num_episodes
            ) or self.rng.random() < self.scenario.transient_failures:
                digest = None
            elif self.rng.random() < self.scenario.wrong:
                digest = f"wrong {next(self.numbers)}"
            if digest is not None:
                self.answers.setdefault(task, set()).add(digest)
                self._last_digest[task], self._last_runner[task] = digest, number
                runner.has.add(task)
            digests.append(digest)
        waiting, runner.tasks, runner.waiting = runner.waiting, (), ()
        self.outcome.busy_s += seconds
        if waiting and not runner.withdrawn:
            self._begin(number, runner, waiting)
        self._handle(Answered(number, seconds, steps, tuple(digests)))
        if waiting and runner.withdrawn:
            self._handle(Skipped(number))

    def _ask(self, number: int) -> None:
        def hear() -> None:
            runner = self.runners.get(number)
            if runner is None:
                self._handle(Died(number))
            elif not runner.frozen and runner.joined:
                steps = int((self.now - runner.since) / (self.scenario.step_s * runner.speed))
                self._handle(Heard(number, 0 if runner.hangs or not runner.tasks else steps))

        self._after(HEARTBEAT_S, hear)

    def _die(self, number: int) -> None:
        runner = self.runners.pop(number, None)
        if runner is not None:
            self.outcome.counts["killed"] += 1
            known = self.dispatcher._fleet._runners.get(number)
            if runner.tasks or (known is not None and not known.is_ready):
                self._handle(Died(number))
            # Nobody waits for an idle one: its end shows when it is spoken to.

    def _kill_one(self) -> None:
        if self.runners:
            self._die(self.rng.choice(list(self.runners)))

    def _kill_many(self) -> None:
        for number in list(self.runners):
            if self.rng.random() < 0.8:
                self._die(number)

    def _freeze_one(self) -> None:
        if self.runners:
            runner = self.runners[self.rng.choice(list(self.runners))]
            runner.frozen = True
            self.outcome.counts["frozen"] += 1
            if self.rng.random() < self.scenario.thaw:
                self._after(self.rng.expovariate(0.5), lambda: setattr(runner, "frozen", False))


LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda rng: 1.0,
    "exponential": lambda rng: rng.expovariate(1.0),
    "lognormal": lambda rng: rng.lognormvariate(-0.5, 1.0),
    "5 % x 19": lambda rng: 19.0 if rng.random() < 0.05 else 1.0,
}


def utilisation(kind: str, runners: int, episodes_per_runner: int, policy_lag: int = 0) -> float:
    """Share of the runners' time that is spent on steps, without faults, one episode a task.

    Measured between the ends of two iterations, so that neither the start nor the end of a run counts.
    """
    rng = random.Random(1)
    iterations = 3 * policy_lag + 5
    lengths = [
        max(1, round(400 * LENGTHS[kind](rng))) for _ in range(iterations * runners * episodes_per_runner)
    ]
    return utilisation_of(lengths, runners, episodes_per_runner, policy_lag)


def utilisation_of(
    lengths: Sequence[int], runners: int, episodes_per_runner: int, policy_lag: int = 0
) -> float:
    """:func:`utilisation` with episodes of these lengths."""
    episodes = runners * episodes_per_runner
    first, last = policy_lag, 2 * policy_lag + 4
    scenario = Scenario(
        runners=runners,
        iterations=last + policy_lag + 1,
        episodes=episodes,
        episodes_per_task=1,
        start_s=0.0,
        policy_lag=policy_lag,
    )
    outcome = Simulation(scenario, 0, lengths.__getitem__).run()
    (start, worked_before), (end, worked) = outcome.ends[first], outcome.ends[last]
    return (worked - worked_before) / (runners * (end - start))


def run_schedules(seeds: Iterable[int]) -> Counter[str]:
    """What happened in the random schedules with these numbers.

    Raises:
        BrokenPromiseError: By the number of the schedule in which a promise was broken.
    """
    counts: Counter[str] = Counter()
    for seed in seeds:
        scenario = random_scenario(random.Random(seed))
        try:
            outcome = Simulation(scenario, seed).run()
        except Exception as error:
            what = str(error) if isinstance(error, BrokenPromiseError) else f"{type(error).__name__}: {error}"
            raise BrokenPromiseError(f"schedule {seed}: {what}\n{scenario}") from error
        counts += outcome.counts
        counts["episodes accepted once"] += outcome.accepted
        if outcome.gave_up is not None:
            counts[f"gave up: {outcome.gave_up.why}"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; the next ones count up")
    options = parser.parse_args()
    started = time.perf_counter()
    counts = run_schedules(range(options.seed, options.seed + options.schedules))
    seconds = time.perf_counter() - started
    print(f"{options.schedules} schedules in {seconds:.1f} s, each as promised")
    for name, count in sorted(counts.items()):
        print(f"  {name:<24}{count:>10,}")
    large = Scenario(
        runners=1000,
        episodes=4000,
        episodes_per_task=1,
        mean_steps=400,
        deaths_per_s=20,
        freezes_per_s=5,
        thaw=0.5,
        slow_runners=0.05,
        mass_losses_per_s=0.1,
        bad_starts=0.1,
        audit_every=100,
    )
    started = time.perf_counter()
    outcome = Simulation(large, 1).run()
    print(
        f"{large.runners} runners, {outcome.accepted} episodes under faults: "
        f"{outcome.counts['killed']} killed, {outcome.counts['frozen']} frozen, "
        f"in {time.perf_counter() - started:.1f} s"
    )
    print("\nUtilisation of 64 runners without faults, by length of episodes and episodes per runner:")
    for kind in LENGTHS:
        row = "  ".join(f"{each:>2}: {utilisation(kind, 64, each):.2f}" for each in (1, 4, 16))
        print(f"  {kind:<12}{row}")
    for runners in (64, 1000):
        lags = "  ".join(f"{k}: {utilisation('lognormal', runners, 16, k):.2f}" for k in (0, 1, 2, 4))
        print(f"Of {runners} runners, lognormal, 16 episodes per runner, by policy lag: {lags}")
