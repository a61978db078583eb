"""Processor time that a task costs the driver, with 1,024 calls in flight to runners that answer at once."""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common import ray_runners, seconds_to_play, untrained
from distpg.config.train_config import TrainConfig
from distpg.core.tasks import Task
from distpg.learning.passes import Question
from distpg.on_ray.cluster import ray_cluster
from distpg.sampling.env_runner import Answer, EnvRunner
from distpg.sampling.runner_spec import EnvRunnerSpec


class AnswersAtOnce(EnvRunner):
    """Plays once, and gives that answer ever after."""

    _played: Answer | None = None

    def answer(self, tasks: Sequence[Task], question: Question | None = None) -> Answer:
        self._played = self._played or super().answer(tasks[:1])
        batch, digest = self._played.outcomes[0], self._played.digests[0]
        outcomes = [replace(batch, weights_seq_no=task.weights_seq_no) for task in tasks]
        return Answer(outcomes, (digest,) * len(tasks), 1e-3 * len(tasks), 20 * len(tasks))


def actors_in(num_processes: int) -> Callable[[EnvRunnerSpec, float], Callable[[int, Any], Any]]:
    """Each process stands for many runners: a thousand of them would not fit on one machine."""
    from distpg.on_ray.actor import RayEnvRunner, new_actors
    from distpg.on_ray.introduction import Introduction
    from distpg.on_ray.side_channel import SideChannel

    class Shared(RayEnvRunner):
        _introduction: Introduction | None = None

        def __init__(self, spec: EnvRunnerSpec, number: int, channel: SideChannel) -> None:
            super().__init__(spec, number, channel)
            self._runner = AnswersAtOnce(spec)

        def join(self) -> Introduction:
            self._introduction = self._introduction or super().join()
            return self._introduction

    def actors(spec: EnvRunnerSpec, cpus: float) -> Callable[[int, Any], Any]:
        new_actor = functools.cache(new_actors(spec, cpus, Shared))
        return lambda runner, channel: new_actor(runner % num_processes, channel)

    return actors


def round_ms(num_calls: int, repetitions: int = 30) -> float:
    """What it takes to ask Ray which of so many calls are done: one of them is."""
    import ray

    @ray.remote(num_cpus=0.1)
    class Waits:
        def wait(self, seconds: float) -> None:
            time.sleep(seconds)

    waits, answers = Waits.remote(), Waits.remote()
    calls = [waits.wait.remote(1000.0) for _ in range(num_calls - 1)]
    found = []
    for _ in range(repetitions):
        ray.wait([answer := answers.wait.remote(0.0)])
        started = time.thread_time()
        ray.wait([*calls, answer], num_returns=1)
        ray.wait([*calls, answer], num_returns=num_calls, timeout=0)
        found.append(1000 * (time.thread_time() - started))
    ray.kill(waits)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--num-env-runners", type=int, nargs="+", default=[1024, 64])
    parser.add_argument("--processes", type=int, default=4, help="that the runners share")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--calls-in-flight", type=int, nargs="*", default=[1000, 10_000])
    options = parser.parse_args()
    policy, weights = untrained()
    config = TrainConfig(env_reuse="always")
    with ray_cluster(None):
        actors = actors_in(options.processes)
        for num_env_runners in options.num_env_runners:
            cpu, main_thread, wall = [], [], []
            with ray_runners(config, policy, num_env_runners, 0.1, actors=actors) as group:
                for iteration in range(options.repetitions + 2):
                    cpu_before, main_before = time.process_time(), time.thread_time()
                    seconds = seconds_to_play(group, iteration, options.tasks, weights)
                    main_thread.append(1000 * (time.thread_time() - main_before) / options.tasks)
                    cpu.append(1000 * (time.process_time() - cpu_before) / options.tasks)
                    wall.append(1000 * seconds / options.tasks)
            cpu, main_thread, wall = cpu[2:], main_thread[2:], wall[2:]  # the first ones warm up
            print(
                f"{options.tasks} tasks over {num_env_runners} runners that answer at once: "
                f"{statistics.median(cpu):.3f} ms of driver processor time a task "
                f"({min(cpu):.3f} to {max(cpu):.3f}), {statistics.median(main_thread):.3f} ms of its main "
                f"thread, {statistics.median(wall):.3f} ms of wall time",
                flush=True,
            )
        for calls in options.calls_in_flight:
            print(
                f"with {calls:,} calls in flight, to ask which are done: {round_ms(calls):.2f} ms", flush=True
            )


if __name__ == "__main__":
    main()
