"""Processor time that a task costs the driver, with 1,024 calls in flight to runners that answer at once."""

import argparse
import statistics
import time
from dataclasses import replace

from benchmarks.common import ray_runners, seconds_to_play, untrained
from distpg.config.train_config import TrainConfig
from distpg.on_ray.cluster import ray_cluster
from distpg.sampling.env_runner import Answer


def shared_processes(num_processes: int):
    """What makes a group whose runners share so many processes, and answer at once."""
    from distpg.on_ray import actor as ray_env_runner
    from distpg.on_ray import group as ray_env_runners

    class EnvRunner(ray_env_runner.EnvRunner):
        """Introduces itself and plays once, and gives those answers ever after."""

        _introduction = _played = None

        def join(self):
            self._introduction = self._introduction or super().join()
            return self._introduction

        def answer(self, tasks, weights):
            self._played = self._played or super().answer(tasks[:1], weights)
            batch, digest = self._played.outcomes[0], self._played.digests[0]
            outcomes = [replace(batch, weights_seq_no=task.weights_seq_no) for task in tasks]
            return Answer(outcomes, (digest,) * len(tasks), 1e-3 * len(tasks), 20 * len(tasks))

    class SharedProcesses(ray_env_runners.RayEnvRunnerGroup):
        """Each process stands for many runners: a thousand of them would not fit on one machine."""

        def _start(self, runner: int) -> None:
            if runner < num_processes:
                super()._start(runner)
                return
            self._num_started += 1
            self._steps_before[runner] = 0
            self._actors[runner] = self._actors[runner % num_processes]
            self._joins[self._actors[runner].join.remote()] = runner

    ray_env_runners.EnvRunner = EnvRunner
    return SharedProcesses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--num-env-runners", type=int, nargs="+", default=[1024, 64])
    parser.add_argument("--processes", type=int, default=4, help="that the runners share")
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    policy, weights = untrained()
    config = TrainConfig(env_reuse="always")
    with ray_cluster(None):
        make_group = shared_processes(options.processes)
        for num_env_runners in options.num_env_runners:
            cpu, wall = [], []
            with ray_runners(config, policy, num_env_runners, 0.1, make_group=make_group) as group:
                for iteration in range(options.repetitions + 2):
                    cpu_before = time.process_time()
                    seconds = seconds_to_play(group, iteration, options.tasks, weights)
                    cpu.append(1000 * (time.process_time() - cpu_before) / options.tasks)
                    wall.append(1000 * seconds / options.tasks)
            cpu, wall = cpu[2:], wall[2:]  # the first ones warm up
            print(
                f"{options.tasks} tasks over {num_env_runners} runners that answer at once: "
                f"{statistics.median(cpu):.3f} ms of driver processor time a task "
                f"({min(cpu):.3f} to {max(cpu):.3f}), {statistics.median(wall):.3f} ms of wall time",
                flush=True,
            )


if __name__ == "__main__":
    main()
