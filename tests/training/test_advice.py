import itertools

import numpy as np
import pytest

from distpg.environments.making import EnvSpec
from distpg.environments.speed import Speed, measure_speed
from distpg.training.advice import in_words, makespan, recommend, task_seconds

# 5 ms a step, 1 % of it computing; and 10 microseconds a step, all of it computing.
WAITS = Speed(steps=2000, seconds=10, cpu_seconds=0.1, lengths=(20,) * 100)
COMPUTES = Speed(steps=1_000_000, seconds=10, cpu_seconds=10, lengths=(24,))
# One second a step.
SLOW = Speed(steps=100, seconds=100, cpu_seconds=100, lengths=(50, 50))


def lognormal(step_s: float) -> Speed:
    lengths = np.random.default_rng(0).lognormal(3, 1, 100).astype(int) + 1
    return Speed(int(lengths.sum()), float(lengths.sum() * step_s), 0.0, tuple(lengths.tolist()))


def test_tasks_go_to_the_runner_that_is_free_first() -> None:
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([1, 1, 3], 2) == 4
    assert makespan([2, 2, 2], 1) == 6
    assert makespan([5], 10) == 5


def test_episodes_of_a_task_share_the_forward_pass_of_a_tick() -> None:
    found = task_seconds(np.array([[10, 20], [5, 5]]), 0.001)
    assert found == pytest.approx([0.030 + 20 * 0.00003, 0.010 + 5 * 0.00003])


def test_what_waits_gets_more_runners_than_cpus() -> None:
    advice = recommend(WAITS, num_cpus=2)
    # (0.05 + 0.03) ms of 5.03 ms; a runner counts as 1/32 of a CPU at least.
    assert advice.cpu_share == pytest.approx(0.08 / 5.03)
    assert (advice.num_env_runners, advice.limit) == (64, "CPUs")
    # A task of one episode takes 100 ms, longer than 2 * 64 * 0.6 ms.
    assert (advice.episodes_per_task, advice.episodes_per_iteration) == (1, 64 * 4)
    assert advice.busy == pytest.approx(4 * 0.1006 / (4 * 0.1006 + 0.002))
    assert advice.waiting == pytest.approx(0)
    # 4 episodes at once against 4 one after the other.
    assert advice.default_speed_up == pytest.approx(4 * 0.1006 / 0.1026)


def test_what_computes_gets_the_cpus() -> None:
    advice = recommend(COMPUTES, num_cpus=2)
    assert advice.cpu_share == pytest.approx(1)
    assert advice.num_env_runners == 2
    # 8 share the 30 microseconds of a forward pass, so that it takes less than half a step.
    assert advice.episodes_per_task == 8
    # 8 * 24 steps take 1.92 ms; 5 of these are at least four times the 2 ms of a round trip.
    assert advice.episodes_per_iteration == 2 * 8 * 5
    # 4 tasks of 24 * 40 microseconds here, or 2 a runner and 2 ms.
    assert advice.default_speed_up == pytest.approx(3.84 / (1.92 + 2))
    # 5 tasks a runner of 8 * 0.24 ms and 24 ticks; then the round trip.
    assert advice.busy == pytest.approx(5 * (1.92 + 0.72) / (5 * (1.92 + 0.72) + 2))
    assert recommend(COMPUTES, num_cpus=8).num_env_runners == 7, "one is the learner's"
    assert recommend(COMPUTES, num_cpus=1).num_env_runners == 0


def test_an_environment_with_threads_of_its_own_gets_fewer_runners() -> None:
    threads = Speed(steps=1000, seconds=10, cpu_seconds=40, lengths=(10,))
    assert recommend(threads, num_cpus=8).num_env_runners == 2


def test_time_without_a_cpu_is_not_waiting() -> None:
    """As under a quota of half a CPU, or beside other work."""
    alone = Speed(steps=1000, seconds=1.0, cpu_seconds=1.0, lengths=(20,) * 50)
    beside = Speed(steps=1000, seconds=10.0, cpu_seconds=1.0, lengths=(20,) * 50, queued_seconds=9.0)
    for cpus in (0.5, 1, 2, 8):
        assert recommend(beside, cpus) == recommend(alone, cpus)
    assert recommend(beside, 2).cpu_share == pytest.approx(1)
    first, busy, computes, *_ = in_words(beside, recommend(beside, 2), 2, None)
    assert first == "an episode of random actions: 20.0 steps (20 to 20), 20 ms"
    assert busy == "this machine is busy: 90 % of that without a CPU; figures may be off"
    assert computes.startswith("it computes: ")
    assert not any("busy: " in line for line in in_words(alone, recommend(alone, 2), 2, None))
    waits = Speed(steps=2000, seconds=11, cpu_seconds=0.1, lengths=(20,) * 100, queued_seconds=1)
    assert recommend(waits, 0.5).num_env_runners == 16
    assert "for the 0.5 CPUs" in in_words(waits, recommend(waits, 0.5), 0.5, None)[1]


def test_memory_limits_runners() -> None:
    advice = recommend(WAITS, num_cpus=2, free_bytes=1_500_000_000)
    assert (advice.num_env_runners, advice.limit) == (10, "memory")
    assert recommend(WAITS, num_cpus=2, free_bytes=10**12).limit == "CPUs"


def test_lengths_that_differ_make_runners_wait() -> None:
    assert recommend(lognormal(0.005), num_cpus=2).waiting > 0.2
    assert recommend(WAITS, num_cpus=2).waiting == pytest.approx(0)


def test_words() -> None:
    assert in_words(WAITS, recommend(WAITS, 2), 2, None) == [
        "an episode of random actions: 20.0 steps (20 to 20), 100 ms",
        "it waits (2 % of a CPU here): --num-env-runners 64 for the 2 CPUs",
        "--episodes-per-iteration 256 --episodes-per-task 1: 100 % busy",
        "more episodes an iteration: steadier updates, but fewer for the same steps",
    ]
    assert in_words(COMPUTES, recommend(COMPUTES, 2), 2, None) == [
        "an episode of random actions: 24.0 steps (24 to 24), 0.24 ms",
        "it computes: --num-env-runners 2 for the 2 CPUs",
        "at the default 4 episodes an iteration --num-env-runners 0 is as fast",
        "--episodes-per-iteration 80 --episodes-per-task 8: 87 % busy",
        "more episodes an iteration: steadier updates, but fewer for the same steps",
    ]
    assert in_words(COMPUTES, recommend(COMPUTES, 1), 1, None)[1:] == [
        "one CPU: --num-env-runners 0 is as fast as any",
        "play side by side: --episodes-per-task 8",
    ]
    assert "so that they fit: --cpus-per-env-runner 0.031" in in_words(WAITS, recommend(WAITS, 2), 2, "auto")
    lines = in_words(lognormal(0.005), recommend(lognormal(0.005), 2), 2, None)
    assert any(line.startswith("lengths differ: ") and "--policy-lag 1" in line for line in lines)
    endless = Speed(steps=600, seconds=3, cpu_seconds=3, lengths=())
    assert in_words(endless, recommend(endless, 2), 2, None)[0] == (
        "no episode of random actions ended in 3 s, 600 steps"
    )


def test_words_fit_a_terminal_and_options_are_options() -> None:
    speeds = [WAITS, COMPUTES, SLOW, lognormal(0.005), lognormal(1e-6), lognormal(100.0)]
    for speed, cpus, memory, address in itertools.product(
        speeds, (1, 2, 64, 1000), (None, 10**8, 10**9), (None, "auto")
    ):
        for line in in_words(speed, recommend(speed, cpus, memory), cpus, address):
            assert len("ok    " + line) <= 80, line


def test_speed_is_of_whole_episodes() -> None:
    speed = measure_speed(EnvSpec("distpg/Sleep-v0", {"mean": 7, "step_ms": 0}), 0.02, 1.0)
    assert set(speed.lengths) == {7}
    assert speed.steps == 7 * len(speed.lengths)
    cut = measure_speed(EnvSpec("distpg/Sleep-v0", {"mean": 10_000, "step_ms": 1}), 0.01, 0.02)
    assert cut.lengths == ()
    assert 0 < cut.steps <= 20
    assert cut.seconds >= 0.02
    assert cut.cpu_seconds < cut.seconds
