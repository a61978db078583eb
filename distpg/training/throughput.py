"""How many episodes a second a configuration plays, and where the time goes.

Each configuration is started by itself, warmed up, and then measured in several repetitions. Those compared
play the same iterations in the same repetition: the same episodes, where the weights are the same.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, NamedTuple

from distpg.config.train_config import TrainConfig
from distpg.core.events import Event
from distpg.learning.learner import Learner
from distpg.sampling.group import CollectTimes
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_before_start
from distpg.training.prepare import prepare
from distpg.training.rollouts import Rollouts, started
from distpg.training.runners import plan

# An automatic warm-up and an automatic repetition last so long in the first of the configurations compared.
_WARM_UP_S = 0.5
_REPETITION_S = 1.0


@dataclass(frozen=True)
class TimeSplit:
    """Seconds of wall time, all parts of it.

    Attributes:
        sampling_s: In which a runner plays, on average over the runners.
        gradient_s: Of the learner's update. Runners that lag play on meanwhile, which counts here.
        waiting_s: In which a runner waits for the slowest, on average.
        transport_s: The rest: calls and answers on their way, their decoding and concatenation.
        broadcast_s: To make weights ready for the runners.
    """

    sampling_s: float
    gradient_s: float
    waiting_s: float
    transport_s: float
    broadcast_s: float

    @property
    def total_s(self) -> float:
        """The sum of the parts."""
        return math.fsum(astuple(self))

    def __add__(self, other: TimeSplit) -> TimeSplit:
        return TimeSplit(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def split_time(
    total_s: float, gradient_s: float, broadcast_s: float, sampling_s: Sequence[float]
) -> TimeSplit:
    """The parts of a stretch of time; none is negative, whatever the clocks of others say.

    Args:
        sampling_s: Of each runner, in this time.
    """
    left = max(0.0, total_s - gradient_s - broadcast_s)
    longest = min(left, max(sampling_s))
    sampling = min(longest, sum(sampling_s) / len(sampling_s))
    return TimeSplit(sampling, gradient_s, longest - sampling, left - longest, broadcast_s)


@dataclass(frozen=True)
class Repetition:
    """Several iterations in a row, with their time.

    Attributes:
        driver_cpu_s: CPU time of this process, in all its threads, while it collected.
    """

    iterations: int
    episodes: int
    steps: int
    tasks: int
    driver_cpu_s: float
    time: TimeSplit

    @property
    def steps_per_s(self) -> float:
        """Environment steps a second."""
        return self.steps / self.time.total_s

    @property
    def episodes_per_s(self) -> float:
        """Episodes a second."""
        return self.episodes / self.time.total_s


class Compared(NamedTuple):
    """What configurations have in common that differ in the number of runners alone."""

    sampler: str
    episodes_per_iteration: int
    episodes_per_task: int
    policy_lag: int


@dataclass(frozen=True)
class Measurement:
    """A configuration, resolved, and its repetitions."""

    config: TrainConfig
    train: bool
    repetitions: tuple[Repetition, ...]

    @property
    def compared(self) -> Compared:
        """What it shares with those that it is compared with."""
        config = self.config
        return Compared(
            config.sampler,
            config.episodes_per_iteration,
            int(config.episodes_per_task),
            config.policy_lag,
        )

    @property
    def steps_per_s(self) -> list[float]:
        """Of each repetition."""
        return [repetition.steps_per_s for repetition in self.repetitions]

    @property
    def episodes_per_s(self) -> list[float]:
        """Of each repetition."""
        return [repetition.episodes_per_s for repetition in self.repetitions]

    @property
    def median(self) -> Repetition:
        """The repetition with the median steps a second; of two in the middle the slower.

        All figures of a configuration are this one's, so that they belong together.
        """
        ordered = sorted(self.repetitions, key=lambda repetition: repetition.steps_per_s)
        return ordered[(len(ordered) - 1) // 2]


def efficiency(measured: Measurement, all_measured: Sequence[Measurement]) -> float | None:
    """Speed over that of as many times one runner: the median over repetitions, which play the same episodes.

    None in this process, and where the same with one runner was not measured.
    """
    number = int(measured.config.num_env_runners)
    one = [
        other
        for other in all_measured
        if other.config.num_env_runners == 1 and other.compared == measured.compared
    ]
    if number == 0 or not one:
        return None
    pairs = zip(measured.steps_per_s, one[0].steps_per_s, strict=True)
    return statistics.median(mine / its for mine, its in pairs) / number


def as_json(measured: Measurement) -> dict[str, Any]:
    """A configuration's line: figures of its median repetition, times in seconds an iteration."""
    config, median = measured.config, measured.median
    split = TimeSplit(*(part / median.iterations for part in astuple(median.time)))
    return {
        "env_id": config.env_id,
        "env_kwargs": config.env_kwargs,
        "sampler": config.sampler,
        "num_env_runners": config.num_env_runners,
        "gradients": "learner",
        "episodes_per_iteration": config.episodes_per_iteration,
        "episodes_per_task": config.episodes_per_task,
        "policy_lag": config.policy_lag,
        "train": measured.train,
        "repetitions": len(measured.repetitions),
        "iterations": median.iterations,
        "env_steps_per_s": median.steps_per_s,
        "env_steps_per_s_min": min(measured.steps_per_s),
        "env_steps_per_s_max": max(measured.steps_per_s),
        "episodes_per_s": median.episodes_per_s,
        "episodes_per_s_min": min(measured.episodes_per_s),
        "episodes_per_s_max": max(measured.episodes_per_s),
        "episode_len_mean": median.steps / median.episodes,
        "driver_cpu_s_per_task": median.driver_cpu_s / median.tasks,
        "time_sample_s": split.sampling_s,
        "time_gradient_s": split.gradient_s,
        "time_wait_s": split.waiting_s,
        "time_transport_s": split.transport_s,
        "time_broadcast_s": split.broadcast_s,
        "time_total_s": split.total_s,
    }


def benchmark(
    configs: Sequence[TrainConfig],
    train: bool = False,
    repetitions: int = 5,
    iterations: int | None = None,
    on_start: Callable[[TrainConfig], None] = lambda config: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Generator[Measurement, None, None]:
    """Measure one configuration after the other; all must have the same environment and policy.

    Args:
        train: Update the weights after each iteration. Otherwise they stay as they begin.
        iterations: Of a repetition; None: about a second of the first configuration of each size of
            iterations, and a few times the policy lag.
        on_start: Told of each configuration before its runners are started.
        on_event: Told of what happens to runners, and of warnings.

    Raises:
        ConfigError: A configuration cannot work; nothing was started.
        DistpgError: A measurement failed.
    """
    first = prepare(configs[0])
    for event in first.events:
        on_event(event)
    # The environment's verdict holds for all.
    all_prepared = [prepare(replace(config, env_reuse=first.config.env_reuse)) for config in configs]
    check_before_start(first.config)
    longest_lag = max(config.policy_lag for config in configs)
    rounds: dict[int, _Rounds] = {}
    with Interrupts() as interrupts:
        for prepared in all_prepared:
            config = prepared.config
            on_start(config)
            with started(prepared, interrupts, on_event, first.why_not) as runners:
                player = _Player(config, runners, train)
                size = config.episodes_per_iteration
                if size in rounds:
                    player.play(rounds[size].warm_up)
                else:
                    rounds[size] = _warm_up(player, longest_lag, iterations)
                measured = [player.play(rounds[size].iterations) for _ in range(repetitions)]
            yield Measurement(config, train, tuple(measured))


class _Rounds(NamedTuple):
    """Iterations of the warm-up, and of a repetition."""

    warm_up: int
    iterations: int


def _warm_up(player: _Player, longest_lag: int, iterations: int | None) -> _Rounds:
    """At least two iterations, of which the first compiles, and as many as are in flight at once."""
    times: list[float] = []
    while len(times) <= max(longest_lag, 1) or sum(times[1:]) < _WARM_UP_S:
        times.append(player.play(1).time.total_s)
    if iterations is None:
        # With a lag some iterations are there at once and others late: one alone says nothing.
        iterations = max(math.ceil(_REPETITION_S / statistics.mean(times[1:])), 3 * longest_lag, 1)
    return _Rounds(len(times), iterations)


class _Player:
    """Plays the iterations of a configuration, from the first one on."""

    def __init__(self, config: TrainConfig, runners: Rollouts, train: bool) -> None:
        self._config = config
        self._runners = runners
        self._train = train
        self._next = 0

    def play(self, iterations: int) -> Repetition:
        """The next iterations, measured. Training starts anew, so that every repetition does the same."""
        learner = Learner(self._config, self._runners.policy)
        weights = learner.weights
        before = _Clocks.of(self._runners.group.times)
        start = time.perf_counter()
        episodes = steps = tasks = 0
        cpu = gradient = gradient_of_all = 0.0
        split = TimeSplit(0, 0, 0, 0, 0)
        for iteration in range(self._next, self._next + iterations):
            cpu_start = time.process_time()
            batch = self._runners.collect(iteration, weights)
            cpu += time.process_time() - cpu_start
            if self._train:
                gradient = -time.perf_counter()
                learner.update(batch)
                weights = learner.weights
                gradient += time.perf_counter()
                gradient_of_all += gradient
            episodes, steps = episodes + batch.num_episodes, steps + batch.num_steps
            tasks += len(plan(self._config, iteration))
            if self._config.policy_lag == 0:
                now, end = _Clocks.of(self._runners.group.times), time.perf_counter()
                split += self._split(end - start, gradient, before, now)
                before, start = now, end
        if self._config.policy_lag > 0:
            # Runners are in several iterations at once: only the whole can be taken apart.
            end = time.perf_counter()
            split = self._split(end - start, gradient_of_all, before, _Clocks.of(self._runners.group.times))
        self._next += iterations
        return Repetition(iterations, episodes, steps, tasks, cpu, split)

    def _split(self, total_s: float, gradient_s: float, before: _Clocks, now: _Clocks) -> TimeSplit:
        number = max(1, int(self._config.num_env_runners))
        played = [seconds - before.sampling_s.get(n, 0.0) for n, seconds in now.sampling_s.items()]
        # Some have not played yet, and of more than there should be some were replaced.
        played = sorted([*played, *[0.0] * number], reverse=True)[:number]
        return split_time(total_s, gradient_s, now.broadcast_s - before.broadcast_s, played)


class _Clocks(NamedTuple):
    """A group's times at a moment."""

    broadcast_s: float
    sampling_s: dict[int, float]

    @staticmethod
    def of(times: CollectTimes) -> _Clocks:
        return _Clocks(times.broadcast_s, dict(times.sampling_s))
