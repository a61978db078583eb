"""How many episodes a second a configuration plays, and where the time goes.

Each configuration is started by itself, warmed up, and then measured in several repetitions. Those compared
play the same iterations in the same repetition: the same episodes, where the weights are the same.
"""

import copy
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.events import OnEvent
from distpg.learning.learner import Learner
from distpg.sampling.group import CollectTimes
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_before_start
from distpg.training.prepare import prepare
from distpg.training.rollouts import Rollouts
from distpg.training.runners import plan
from distpg.training.start import started

# An automatic warm-up and an automatic repetition last so long in the first of the configurations compared.
_WARM_UP_S = 0.5
_REPETITION_S = 1.0


class TimeSplit(NamedTuple):
    """Seconds of wall time, all parts of it.

    Attributes:
        sample_s: In which a runner plays, on average over the runners.
        gradient_s: Of the learner's update. Runners that lag play on meanwhile, which counts here.
        wait_s: In which a runner waits for the slowest, on average.
        transport_s: The rest: calls and answers on their way, their decoding and concatenation.
        broadcast_s: To make weights ready for the runners.
    """

    sample_s: float
    gradient_s: float
    wait_s: float
    transport_s: float
    broadcast_s: float

    @property
    def total_s(self) -> float:
        """The sum of the parts."""
        return math.fsum(self)


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


def sizes_in_words(config: TrainConfig) -> str:
    """All that a resolved configuration shares with those that it is compared with."""
    lag = f", policy lag {config.policy_lag}" if config.policy_lag else ""
    return (
        f"{config.episodes_per_iteration} episodes an iteration, {config.episodes_per_task} a task{lag}, "
        f"{config.sampler} sampler, gradients at the {config.gradients}"
    )


@dataclass(frozen=True)
class Measurement:
    """A configuration, resolved, and its repetitions."""

    config: TrainConfig
    train: bool
    repetitions: tuple[Repetition, ...]

    @property
    def num_env_runners(self) -> int:
        """0: in this process."""
        return int(self.config.num_env_runners)

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
        """The repetition with the median steps a second, to which all figures belong; of two the slower."""
        ordered = sorted(self.repetitions, key=lambda repetition: repetition.steps_per_s)
        return ordered[(len(ordered) - 1) // 2]


def efficiency(measured: Measurement, all_measured: Sequence[Measurement]) -> float | None:
    """Speed over that of as many times one runner: the median over repetitions, which play the same episodes.

    None in this process, and where the same with one runner was not measured.
    """
    sizes = sizes_in_words(measured.config)
    for one in all_measured:
        if measured.num_env_runners and one.num_env_runners == 1 and sizes_in_words(one.config) == sizes:
            pairs = zip(measured.steps_per_s, one.steps_per_s, strict=True)
            return statistics.median(mine / its for mine, its in pairs) / measured.num_env_runners
    return None


def as_json(measured: Measurement) -> dict[str, Any]:
    """A configuration's line: figures of its median repetition, times in seconds an iteration."""
    config, median = measured.config, measured.median
    times = median.time._asdict() | {"total_s": median.time.total_s}
    return {
        "env_id": config.env_id,
        "env_kwargs": config.env_kwargs,
        "sampler": config.sampler,
        "num_env_runners": config.num_env_runners,
        "gradients": config.gradients,
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
        **{f"time_{name}": seconds / median.iterations for name, seconds in times.items()},
    }


def benchmark(
    configs: Sequence[TrainConfig],
    train: bool = False,
    repetitions: int = 5,
    iterations: int | None = None,
    on_start: Callable[[TrainConfig], None] = lambda config: None,
    on_event: OnEvent = lambda event: None,
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
    # The environment's verdict holds for all, and so does what was seen of it.
    reuse = first.config.env_reuse
    others = [prepare(replace(config, env_reuse=reuse), first.look) for config in configs[1:]]
    check_before_start(first.config)
    longest_lag = max(config.policy_lag for config in configs)
    rounds: dict[int, tuple[int, int]] = {}  # by size: iterations of the warm-up, and of a repetition
    with Interrupts() as interrupts:
        for prepared in (first, *others):
            on_start(prepared.config)
            with started(prepared, interrupts, on_event, first.why_not) as runners:
                play = functools.partial(_play, runners, train, itertools.count())
                size = prepared.config.episodes_per_iteration
                if size in rounds:
                    play(rounds[size][0])
                else:
                    rounds[size] = _warm_up(play, longest_lag, iterations)
                measured = [play(rounds[size][1]) for _ in range(repetitions)]
            yield Measurement(prepared.config, train, tuple(measured))


def _warm_up(play: Callable[[int], Repetition], longest_lag: int, iterations: int | None) -> tuple[int, int]:
    """At least two iterations, of which the first compiles, and as many as are in flight at once."""
    times: list[float] = []
    while len(times) <= max(longest_lag, 1) or sum(times[1:]) < _WARM_UP_S:
        times.append(play(1).time.total_s)
    if iterations is None:
        # With a lag some iterations are there at once and others late: one alone says nothing.
        iterations = max(math.ceil(_REPETITION_S / statistics.mean(times[1:])), 3 * longest_lag, 1)
    return len(times), iterations


def _play(runners: Rollouts, train: bool, numbers: Iterator[int], iterations: int) -> Repetition:
    """The next iterations, measured. Training starts anew, so that every repetition does the same."""
    config, times = runners.config, runners.group.times
    learner = Learner(config, runners.policy)
    weights = learner.weights
    episodes = steps = tasks = 0
    cpu = gradient = 0.0
    splits: list[TimeSplit] = []
    before, start = copy.deepcopy(times), time.perf_counter()
    for left, iteration in zip(range(iterations - 1, -1, -1), numbers, strict=False):
        cpu -= time.process_time()
        played = runners.play(iteration, weights)
        cpu += time.process_time()
        if train:
            gradient -= time.perf_counter()
            learner.update(played)
            weights = learner.weights
            gradient += time.perf_counter()
        of = played if isinstance(played, EpisodeBatch) else played.gathered.summary
        episodes, steps = episodes + of.num_episodes, steps + of.num_steps
        tasks += len(plan(config, iteration))
        # With a lag runners are in several iterations at once: only the whole can be taken apart.
        if config.policy_lag == 0 or left == 0:
            seconds = _seconds_played(before, times, max(1, int(config.num_env_runners)))
            end = time.perf_counter()
            splits.append(split_time(end - start, gradient, times.broadcast_s - before.broadcast_s, seconds))
            before, start, gradient = copy.deepcopy(times), end, 0.0
    total = TimeSplit(*map(sum, zip(*splits, strict=True)))
    return Repetition(iterations, episodes, steps, tasks, cpu, total)


def _seconds_played(before: CollectTimes, now: CollectTimes, num_runners: int) -> list[float]:
    played = [seconds - before.sampling_s.get(n, 0.0) for n, seconds in now.sampling_s.items()]
    # Some have not played yet, and of more than there should be some were replaced.
    return sorted([*played, *[0.0] * num_runners], reverse=True)[:num_runners]
