"""How long an iteration takes with one of four runners ten times slower, against four healthy ones."""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from distpg.config.train_config import TrainConfig
from distpg.core.events import Event
from distpg.core.policies import PolicySpec, initial_weights
from distpg.core.tasks import tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.on_ray.cluster import ray_cluster
from distpg.sampling.env_runner import env_runner_spec


def seconds(options: argparse.Namespace, slow_marker: Path | None) -> tuple[list[float], Counter]:
    from distpg.on_ray.group import RayEnvRunnerGroup

    env_id, kwargs = "distpg/Sleep-v0", {"step_ms": options.step_ms}
    if slow_marker is not None:
        env_id, kwargs["slow_marker"] = "benchmarks.chaos:Straggles-v0", str(slow_marker)
    policy = PolicySpec(1, 2)
    config = TrainConfig(env_id=env_id, env_kwargs=kwargs, env_reuse="always")
    events: list[Event] = []
    group = RayEnvRunnerGroup(env_runner_spec(config, policy), 0.1, Rules(num_runners=4), events.append)
    group.wait_for(4)
    weights = initial_weights(policy.layer_sizes, 0)
    found = []
    for iteration in range(options.iterations + 1):
        start = time.perf_counter()
        tasks = tasks_of_iteration(iteration, 64, 1, 0)
        group.add(tasks, weights)
        group.collect(tasks)
        found.append(time.perf_counter() - start)
    group.close()
    return found, Counter(event.kind for event in events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--iterations", type=int, default=5, help="after a first one, which is shown by itself"
    )
    parser.add_argument("--step-ms", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ray_cluster(None):
        healthy, _ = seconds(options, None)
        slow, events = seconds(options, Path(directory, "slow"))
    first, rest = slow[0] / healthy[0], statistics.median(slow[1:]) / statistics.median(healthy[1:])
    print(
        f"64 episodes, one a task, of 20 steps of {options.step_ms:g} ms: four healthy runners "
        f"{statistics.median(healthy[1:]):.2f} s, one of them ten times slower "
        f"{statistics.median(slow[1:]):.2f} s (medians of {options.iterations}): {rest:.2f} times as long; "
        f"in the first iteration, when nobody knows, {first:.2f} times. Hedged: {events['tasks_hedged']}"
    )


if __name__ == "__main__":
    main()
