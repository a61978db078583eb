"""How busy 100, 1,000 and 10,000 runners and their driver are: simulated, from measured pieces."""

import argparse
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks.one_driver import Driver
from benchmarks.virtual_runners import NUMBERS, Costs, Workload
from distpg.core.exact_sums import add, exact, from_bytes, rounded, to_bytes

SIMULATOR = Workload(step_s=0.01, mean_steps=200)
CARTPOLE = Workload(step_s=1 / 15e6, mean_steps=500, episodes_per_task=64)
COLUMNS = (
    *("", "runners", "million steps/s", "calls %", "rounds %", "learner %", "MB/s", "combiner %"),
    *("policy lag: runners busy %", "dispatcher us"),
)


def workloads() -> Iterator[tuple[str, Workload]]:
    """What is played, with where the gradient is computed and whether answers are combined on nodes."""
    for what, workload in (
        ("10 ms a step, lognormal", replace(SIMULATOR, lengths="lognormal")),
        ("10 ms a step, constant", SIMULATOR),
        ("CartPole, 64 episodes a task", CARTPOLE),
        ("CartPole, 4,096 episodes a task", replace(CARTPOLE, episodes_per_task=4096)),
    ):
        if workload.episodes_per_task < 4096:
            yield f"{what}; gradient on the learner", workload
        if workload.episodes_per_task > 1:
            yield f"{what}; on runners", replace(workload, on_runners=True)
        yield f"{what}; on runners, combined on nodes", replace(workload, on_runners=True, per_node=64)


def row(workload: Workload, costs: Costs, runners: int, lags: list[int]) -> str:
    """A line of the table. All but how busy runners are is of the last lag."""
    busy = []
    for lag in lags:
        # Between the ends of two iterations, so that neither the start nor the end of a run counts. For the
        # longest episodes lag + 1 iterations wait at a time.
        window = (lag + 1) * (2 if runners <= 1000 else 1)
        driver = Driver(workload, costs, runners, lag, 2 * lag + window + 1)
        marks = driver.run()
        spent = marks[lag + window].copy()
        spent.subtract(marks[lag])
        share = Counter({what: 100 * number / spent["time"] for what, number in spent.items()})
        gc.collect()
        busy.append(f"{lag}: {share['runners'] / runners:.0f}")
    combiner = f"{share['nodes'] / len(driver.nodes):.0f}" if driver.nodes else ""
    numbers = [
        f"{runners:,}",
        f"{spent['steps'] / spent['time'] / 1e6:,.3g}",
        *(f"{share[what]:.0f}" for what in ("calls", "rounds", "learner")),
        f"{spent['bytes'] / spent['time'] / 1e6:.2g}",
        combiner,
        ", ".join(busy),
        f"{1e6 * driver.dispatcher_s / len(driver.answered):.0f}",
    ]
    return " | ".join(numbers)


def least_us(work: Callable[[], object], repetitions: int) -> float:
    """Microseconds of processor time, the least of five rounds."""
    rounds = []
    for _ in range(5):
        started = time.thread_time()
        for _ in range(repetitions):
            work()
        rounds.append(1e6 * (time.thread_time() - started) / repetitions)
    return min(rounds)


def exact_sums(size: int, repetitions: int) -> str:
    """What a term of so many numbers costs, beside a plain sum's."""
    rng = np.random.default_rng(0)
    terms = [rng.normal(size=size) * 10.0 ** rng.uniform(-4, 1, size) for _ in range(8)]
    sums = [exact(term) for term in terms]
    sent = to_bytes(add(*sums))
    us = {
        "to make one exact": least_us(lambda: exact(terms[0]), repetitions),
        "to add one of eight": least_us(lambda: add(*sums), repetitions) / 8,
        "to write a sum": least_us(lambda: to_bytes(add(*sums[:2])), repetitions),
        "to read and to add one": least_us(lambda: add(sums[0], from_bytes(sent)), repetitions),
        "to round one": least_us(lambda: rounded(sums[0]), repetitions),
        "to add plain float64": least_us(lambda: terms[0] + terms[1], repetitions),
    }
    found = ", ".join(f"{what} {number:.3g}" for what, number in us.items())
    return f"exact sums of {size:,} numbers, in us: {found}; {len(sent):,} bytes, plain {8 * size:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runners", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--policy-lag", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--only", default="", help="workloads with this in their names")
    for name, value in vars(Costs()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    options = parser.parse_args()
    costs = Costs(**{name: getattr(options, name) for name in vars(Costs())})
    gc.disable()  # nearly all is needed to the end of a run; it would take a quarter of the time
    for size, repetitions in ((898, 50), (NUMBERS, 50), (100_000, 3)):
        print(exact_sums(size, repetitions), flush=True)
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, workload in workloads():
        if options.only not in name:
            continue
        lags = options.policy_lag
        if workload.lengths == "constant":
            lags = lags[:2]  # more of it changes nothing
        elif workload.per_node:
            lags = lags[:: max(1, len(lags) - 1)]  # the first and the last; as those above
        for runners in options.runners:
            print(f"| {name} | {row(workload, costs, runners, lags)} |", flush=True)


if __name__ == "__main__":
    main()
