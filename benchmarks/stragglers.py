"""How long an iteration takes with one of four runners ten times slower, against four healthy ones."""

import argparse
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.common import ray_runners, seconds_to_play
from distpg.config.train_config import TrainConfig
from distpg.core.events import Event
from distpg.core.policies import PolicySpec
from distpg.on_ray.cluster import ray_cluster


def seconds(options: argparse.Namespace, slow_marker: Path | None) -> tuple[list[float], Counter]:
    env_id, kwargs = "distpg/Sleep-v0", {"step_ms": options.step_ms}
    if slow_marker is not None:
        env_id, kwargs["slow_marker"] = "benchmarks.chaos:Straggles-v0", str(slow_marker)
    policy = PolicySpec(1, (2,))
    config = TrainConfig(env_id=env_id, env_kwargs=kwargs, env_reuse="always")
    events: list[Event] = []
    weights = policy.initial_weights(0)
    with ray_runners(config, policy, 4, 0.1, events.append) as group:
        found = [seconds_to_play(group, i, 64, weights) for i in range(options.iterations + 1)]
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
