"""What several benchmarks share: runs in processes of their own, a policy, runners on Ray, and /proc."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distpg.config.train_config import TrainConfig
from distpg.core.events import OnEvent
from distpg.core.policies import PolicySpec, Weights
from distpg.core.tasks import tasks_of_iteration
from distpg.environments.envs import inspect_env
from distpg.environments.making import EnvSpec
from distpg.sampling.group import EnvRunnerGroup
from distpg.sampling.runner_spec import EnvRunnerSpec, env_runner_spec


def start_distpg(*arguments: str, program: str | None = None, **popen: Any) -> subprocess.Popen[bytes]:
    """A command of distpg in a session of its own: no signal to this process reaches it.

    Args:
        program: In Python, what runs it instead of ``distpg`` itself.
    """
    start = ["-m", "distpg"] if program is None else ["-c", program]
    command = [sys.executable, *start, *arguments, "--quiet"]
    return subprocess.Popen(command, start_new_session=True, **popen)


def train(run: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """The result of a run in one process of its own: no number of runners would change it."""
    with start_distpg(
        *("train", "--num-env-runners", "0", "--seed", str(seed), "--run-dir", str(run)), *options
    ) as process:
        process.wait()
    if process.returncode != 0:
        raise SystemExit(f"distpg train ended with exit code {process.returncode}")
    return result(run)


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def digests(run: Path) -> list[str]:
    """Of the weights after each iteration."""
    return [line["weights_digest"] for line in metrics(run)]


def parser_of_runs(description: str, seeds: int) -> argparse.ArgumentParser:
    """For benchmarks that train several seeds at a time, and hand on what they do not know."""
    parser = argparse.ArgumentParser(description=f"{description} Other options go to `distpg train`.")
    parser.add_argument("--seeds", type=int, default=seeds, help="seeds 0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    return parser


def untrained(env_id: str = "CartPole-v1") -> tuple[PolicySpec, Weights]:
    """The default policy for an environment, and its first weights."""
    info = inspect_env(EnvSpec(env_id))
    policy = PolicySpec(info.observations.size, info.actions.sizes, TrainConfig().hidden_sizes)
    return policy, policy.initial_weights(0)


@contextlib.contextmanager
def ray_runners(
    config: TrainConfig,
    policy: PolicySpec,
    num_env_runners: int,
    cpus: float,
    on_event: OnEvent = lambda event: None,
    start_timeout_s: float = 60.0,
    actors: Callable[[EnvRunnerSpec, float], Callable[[int, Any], Any]] | None = None,
) -> Iterator[EnvRunnerGroup]:
    """So many runners on the cluster of this process, all of them ready.

    Args:
        actors: What starts them, in the place of ``distpg.on_ray.actor.new_actors``.
    """
    from distpg.dispatch.messages import Rules
    from distpg.on_ray.actor import new_actors
    from distpg.on_ray.group import RayEnvRunnerGroup

    spec = env_runner_spec(config, policy)
    rules = Rules(num_env_runners, start_timeout_s=start_timeout_s)
    group = RayEnvRunnerGroup(spec, rules, (actors or new_actors)(spec, cpus), on_event)
    with contextlib.closing(group):
        group.wait_for(num_env_runners)
        yield group


def seconds_to_play(group: EnvRunnerGroup, iteration: int, episodes: int, weights: Weights) -> float:
    """For so many episodes, one a task."""
    tasks = tasks_of_iteration(iteration, episodes, 1, iteration)
    start = time.perf_counter()
    group.collect(group.add(tasks, weights))
    return time.perf_counter() - start


def env_runner_processes(ancestors: set[int]) -> list[int]:
    """Processes of runners on Ray that descend from one of these processes."""
    parents, runners = {}, []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (path / "cmdline").read_bytes().startswith(b"ray::RayEnvRunner"):
                    runners.append(int(path.name))

    def descends(process: int) -> bool:
        while process in parents and process not in ancestors:
            process = parents[process]
        return process in ancestors

    return sorted(filter(descends, runners))


def memory_mib(what: str, process: int | str = "self") -> float:
    """A line of /proc/PROCESS/status: VmRSS is in memory now, VmHWM the most that ever was."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(what)]
    return int(line.split()[1]) / 1024
