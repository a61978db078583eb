"""The simulation of a driver with many runners, in small."""

import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.one_driver import Driver
from benchmarks.virtual_runners import Costs, Workload
from distpg.core.exact_sums import ExactSum, add, exact, from_bytes, to_bytes
from distpg.core.tasks import Task
from tests.faults.simulator import utilisation_of

NOTHING = Costs(**dict.fromkeys(vars(Costs()), 0.0))
SIMULATOR = Workload(step_s=0.01, mean_steps=200)


def busy(driver: Driver, runners: int, first: int, last: int) -> float:
    start, end = driver.run()[first], driver.marks[last]
    return (end["runners"] - start["runners"]) / runners / (end["time"] - start["time"])


@pytest.mark.parametrize("lag", [0, 1])
def test_where_nothing_costs_anything_it_is_the_simulator_of_faults_without_faults(lag: int) -> None:
    workload = Workload(step_s=0.001, mean_steps=400, lengths="lognormal", tasks_each=8)
    driver = Driver(workload, NOTHING, 30, lag, 3 * lag + 5)
    lengths = workload.steps_of_tasks((3 * lag + 5) * 30 * 8)
    expected = utilisation_of(lengths, 30, 8, lag)
    assert busy(driver, 30, lag, 2 * lag + 4) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("on_runners", [False, True])
def test_a_driver_that_is_too_slow_sets_the_pace(on_runners: bool) -> None:
    """Four tasks of two seconds a runner; a call each, and where there is a second pass one more a runner."""
    costs = replace(NOTHING, call_s=0.2)
    workload = replace(SIMULATOR, on_runners=on_runners)
    needed_s = 0.2 * 20 * (5 if on_runners else 4)
    assert busy(Driver(workload, costs, 20, 1, 6), 20, 1, 4) == pytest.approx(8 / needed_s, rel=0.05)
    assert busy(Driver(replace(workload, per_node=5), costs, 20, 1, 6), 20, 1, 4) > 0.9


def test_what_is_played_and_sent_adds_up() -> None:
    for workload, size in (
        (SIMULATOR, 25 * 200 * 40),
        (replace(SIMULATOR, on_runners=True), (300 + Costs().vectors_bytes) * 40),
        (replace(SIMULATOR, on_runners=True, per_node=4), 300 * 40 + Costs().sum_bytes * 3),
    ):
        driver = Driver(workload, Costs(), 10, 0, 3)
        (end,) = driver.run()[-1:]
        assert (end["steps"], end["bytes"]) == (200 * 120, pytest.approx(3 * size))
        assert end["runners"] >= 0.01 * 200 * 120
        assert len({task for task, _ in driver.answered}) == 120


def gradient_of(task: Task) -> np.ndarray:
    rng = np.random.default_rng(task.first_episode)
    return rng.normal(size=7) * 10.0 ** rng.uniform(-12, 12, size=7)


def combined(sums: list[ExactSum], rng: random.Random) -> ExactSum:
    """Over a tree of nodes: each adds what some others sent."""
    while len(sums) > 1:
        rng.shuffle(sums)
        size = rng.randint(2, 5)
        sums[:size] = [from_bytes(to_bytes(add(*sums[:size])))]
    return sums[0]


def test_gradients_combined_on_any_tree_of_nodes_are_the_flat_sum_bit_for_bit() -> None:
    workload = Workload(step_s=0.01, mean_steps=20, lengths="lognormal")
    for number, per_node in enumerate((1, 4, 7, 30)):
        driver = Driver(replace(workload, on_runners=True, per_node=per_node), Costs(), 30, 1, 2)
        driver.run()
        on_nodes: dict[int, list[ExactSum]] = defaultdict(list)
        for task, runner in driver.answered:
            on_nodes[runner // per_node].append(exact(gradient_of(task)))
        tree = combined([add(*sums) for sums in on_nodes.values()], random.Random(number))
        flat = add(*(exact(gradient_of(task)) for task in sorted(task for task, _ in driver.answered)))
        assert to_bytes(tree) == to_bytes(flat)


def test_the_table() -> None:
    command = [sys.executable, "-m", "benchmarks.many_runners", "--runners", "3", "--policy-lag", "0", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {10}
    assert len(rows) == 1 + 9
