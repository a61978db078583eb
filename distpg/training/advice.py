"""How many runners an environment is worth, and how large their tasks: arithmetic on its speed."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distpg.config.train_config import TrainConfig, automatic_episodes_per_task, automatic_num_env_runners
from distpg.environments.speed import Speed
from distpg.training.preflight import RUNNER_BYTES

# Of one core, as measured; what matters is their size beside an episode's.
_ROUND_TRIP_S = 0.002  # what Ray adds to an iteration
_DRIVER_S = 0.0006  # CPU time that a call costs the driver
_CALL_S = 0.02  # tasks shorter than this travel together
_TICK_S = 0.00003  # forward pass and choice of a built-in policy, for all episodes of a task at once

# Below this share of a CPU an environment waits rather than computes, above that it has threads of its own.
_WAITS, _THREADED = 0.5, 1.5
# What a runner takes in any case.
_LEAST_SHARE = 1 / 32
_MAX_EPISODES_PER_TASK = 64
_TASKS_PER_RUNNER = 4
# Iterations simulated, fewer where they are large.
_DRAWS, _TASKS_DRAWN = 20, 20_000
# A speed-up below this is not worth a cluster; waiting above this is worth a lag.
_WORTH_IT = 1.2
_MUCH_WAITING = 0.1
# Above this share of the time without a CPU a measurement says little.
_BUSY = 0.2


@dataclass(frozen=True)
class Recommendation:
    """What suits an environment on a number of CPUs.

    Attributes:
        cpu_share: CPUs that one runner keeps busy while it plays.
        num_env_runners: 0 where one runner would be all.
        limit: What keeps their number from being higher: ``CPUs`` or ``memory``.
        busy: Share of the time in which runners play, at these sizes.
        waiting: Share that they lose to the iteration's longest task.
        default_speed_up: Of these runners over this process alone, at the default iteration and tasks.
    """

    cpu_share: float
    num_env_runners: int
    limit: str
    episodes_per_task: int
    episodes_per_iteration: int
    busy: float
    waiting: float
    default_speed_up: float


def recommend(speed: Speed, num_cpus: float, free_bytes: int | None = None) -> Recommendation:
    """What suits an environment of this speed.

    Args:
        num_cpus: CPUs of the machine or cluster.
        free_bytes: Memory for runners; None: enough.
    """
    step_s = speed.own_seconds / speed.steps
    # An episode that did not end is as long as it was played, at least.
    lengths = speed.lengths or (speed.steps,)
    episode_s = float(np.mean(lengths)) * step_s
    share = (speed.cpu_seconds / speed.steps + _TICK_S) / (step_s + _TICK_S)
    if _WAITS <= share <= _THREADED:
        fit = automatic_num_env_runners(max(1, int(num_cpus)), max(1, int(num_cpus)))
    else:
        fit = max(1, int(num_cpus / max(share, _LEAST_SHARE)))
    memory = fit if free_bytes is None else free_bytes // RUNNER_BYTES
    number = max(1, min(fit, memory))
    per_task = _episodes_per_task(step_s, episode_s, number)
    # Several tasks a runner, and enough work that Ray's round trip is a small part of it.
    tasks = max(_TASKS_PER_RUNNER, int(np.ceil(4 * _ROUND_TRIP_S / (per_task * episode_s))))
    per_iteration = number * per_task * tasks
    busy, waiting, _ = _simulate(lengths, step_s, number, per_task, per_iteration)
    default = TrainConfig().episodes_per_iteration
    *_, default_speed_up = _simulate(lengths, step_s, number, automatic_episodes_per_task(default), default)
    return Recommendation(
        cpu_share=share,
        num_env_runners=number if number > 1 else 0,
        limit="memory" if memory < fit else "CPUs",
        episodes_per_task=per_task,
        episodes_per_iteration=per_iteration,
        busy=busy,
        waiting=waiting,
        default_speed_up=default_speed_up,
    )


def _episodes_per_task(step_s: float, episode_s: float, num_runners: int) -> int:
    """So many that they share the cost of a forward pass, and leave the driver half of its time."""
    size = 1
    while size < _MAX_EPISODES_PER_TASK and (
        _TICK_S / size > step_s / 2 or max(size * episode_s, _CALL_S) < 2 * num_runners * _DRIVER_S
    ):
        size *= 2
    return size


def _simulate(
    lengths: Sequence[int], step_s: float, num_runners: int, per_task: int, per_iteration: int
) -> tuple[float, float, float]:
    """Busy and waiting shares of runners, and their speed-up, over iterations of lengths drawn at random."""
    rng = np.random.default_rng(0)
    played = longest = total = 0.0
    for _ in range(max(1, min(_DRAWS, _TASKS_DRAWN * per_task // per_iteration))):
        tasks = task_seconds(rng.choice(lengths, (per_iteration // per_task, per_task)), step_s).tolist()
        calls = min(len(tasks), max(num_runners, sum(tasks) / _CALL_S))
        last = makespan(tasks, num_runners)
        played += sum(tasks)
        longest += last
        total += max(last, calls * _DRIVER_S) + _ROUND_TRIP_S
    return played / (num_runners * total), 1 - played / (num_runners * longest), played / total


def task_seconds(lengths: NDArray[np.int64], step_s: float) -> NDArray[np.float64]:
    """Times of tasks, float64[T]: all steps, and a forward pass each tick until its longest episode ends.

    Args:
        lengths: int64[T, episodes of a task].
    """
    seconds: NDArray[np.float64] = lengths.sum(axis=1) * step_s + lengths.max(axis=1) * _TICK_S
    return seconds


def makespan(seconds: Sequence[float], num_runners: int) -> float:
    """When the last of the tasks ends, if each goes, in order, to the runner that is free first."""
    ends = [0.0] * num_runners
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def in_words(speed: Speed, advice: Recommendation, num_cpus: float, address: str | None) -> list[str]:
    """The recommendation in lines of at most 74 characters, with the options as they are typed."""
    lines = [_episode_in_words(speed)]
    if speed.queued_seconds > _BUSY * speed.seconds:
        queued = f"{100 * speed.queued_seconds / speed.seconds:.0f} %"
        lines.append(f"this machine is busy: {queued} of that without a CPU; figures may be off")
    number, per_task, is_memory = advice.num_env_runners, advice.episodes_per_task, advice.limit == "memory"
    if number == 0:
        return [
            *lines,
            f"{'little memory' if is_memory else 'one CPU'}: --num-env-runners 0 is as fast as any",
            f"play side by side: --episodes-per-task {per_task}",
        ]
    kind = f"it waits ({100 * advice.cpu_share:.0f} % of a CPU here)"
    if advice.cpu_share >= _WAITS:
        kind = "it computes"
    room = "the free memory" if is_memory else f"the {num_cpus:g} CPUs"
    lines.append(f"{kind}: --num-env-runners {number} for {room}")
    if address is not None and num_cpus != number:
        # Rounded down, so that all fit.
        lines.append(f"so that they fit: --cpus-per-env-runner {int(1000 * num_cpus / number) / 1000:g}")
    if advice.default_speed_up < _WORTH_IT:
        default = TrainConfig().episodes_per_iteration
        lines.append(f"at the default {default} episodes an iteration --num-env-runners 0 is as fast")
    sizes = f"--episodes-per-iteration {advice.episodes_per_iteration} --episodes-per-task {per_task}"
    lines.append(f"{sizes}: {100 * advice.busy:.0f} % busy")
    if advice.waiting > _MUCH_WAITING:
        waiting = f"{100 * advice.waiting:.0f} %"
        lines.append(f"lengths differ: {waiting} is waiting; --policy-lag 1 or more fills it")
    return [*lines, "more episodes an iteration: steadier updates, but fewer for the same steps"]


def _episode_in_words(speed: Speed) -> str:
    if not speed.lengths:
        return f"no episode of random actions ended in {speed.seconds:.0f} s, {speed.steps:,} steps"
    mean = float(np.mean(speed.lengths))
    span = f"{min(speed.lengths):,} to {max(speed.lengths):,}"
    took = 1000 * mean * speed.own_seconds / speed.steps
    time = f"{took:,.3g} ms" if took < 1000 else f"{took / 1000:,.3g} s"
    return f"an episode of random actions: {mean:,.1f} steps ({span}), {time}"
