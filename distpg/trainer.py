"""The training loop: collect complete episodes, update, log, until solved or out of budget."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from platform import python_version

from distpg.config import TrainConfig, automatic_num_env_runners, config_to_json, resolve_config
from distpg.env_runners import (
    EnvRunnerGroup,
    InProcessEnvRunnerGroup,
    Task,
    env_runner_spec,
    tasks_of_iteration,
)
from distpg.envs import EnvSpec, inspect_env
from distpg.events import Event, EventLog
from distpg.interrupts import Interrupts
from distpg.learner import Learner
from distpg.metrics import Metrics, MetricsLog, iteration_metrics
from distpg.plots import plot_run
from distpg.policies import PolicySpec, weights_digest
from distpg.run_directory import new_run_directory, write_atomically
from distpg.stopping import Progress, is_at_limit, is_solved, limits_of


@dataclass(frozen=True)
class Result:
    """How a run ended; result.json holds the same.

    Attributes:
        wall_s: Seconds from the call to the end of training.
        train_s: The same without start-up.
        reproducible: Whether the same config and seed give the same weights again.
    """

    solved: bool
    env_steps_to_solve: int | None
    episodes_to_solve: int | None
    iterations: int
    wall_s: float
    train_s: float
    weights_digest: str
    reproducible: bool
    seed: int
    versions: dict[str, str | None]
    run_dir: str


@dataclass(frozen=True)
class Listeners:
    """Who is told of a run's course: of its resolved configuration, each iteration and each event."""

    on_start: Callable[[TrainConfig, Path], None] = lambda config, run: None
    on_iteration: Callable[[Metrics], None] = lambda metrics: None
    on_event: Callable[[Event], None] = lambda event: None


def train(config: TrainConfig, listeners: Listeners | None = None) -> Result:
    """Train a policy; everything about the run is in its directory afterwards.

    Raises:
        ConfigError: The configuration cannot work; nothing was started.
        DistpgError: Training failed.
        KeyboardInterrupt: SIGINT or SIGTERM; the files hold every iteration that was completed.
    """
    started = time.perf_counter()
    listeners = listeners or Listeners()
    env = inspect_env(EnvSpec(config.env_id, config.env_kwargs, config.max_episode_steps))
    config = resolve_config(config, env.reward_threshold)
    policy_spec = PolicySpec(env.observation_size, env.num_actions, config.hidden_sizes)
    run = new_run_directory(config)
    progress = Progress()
    with contextlib.ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        events = EventLog(run, listeners.on_event)
        config, runners = stack.enter_context(_env_runners(config, policy_spec, events))
        interrupts.install()
        write_atomically(run / "config.json", config_to_json(config).encode())
        log = stack.enter_context(MetricsLog(run))
        learner = Learner(config, policy_spec)
        listeners.on_start(config, run)
        training_started = time.perf_counter()
        for metrics in iterate(config, learner, runners, progress, log, interrupts):
            listeners.on_iteration(metrics)
        train_s = time.perf_counter() - training_started
    wall_s = time.perf_counter() - started
    result = _result(config, run, progress, weights_digest(learner.weights), wall_s, train_s)
    write_atomically(
        run / "result.json", (json.dumps(asdict(result), indent=2, allow_nan=False) + "\n").encode()
    )
    plot_run(run)
    return result


def iterate(
    config: TrainConfig,
    learner: Learner,
    runners: EnvRunnerGroup,
    progress: Progress,
    log: MetricsLog,
    interrupts: Interrupts,
) -> Iterator[Metrics]:
    """The algorithm (article, REINFORCE with baseline), an iteration at a time until solved or at a limit."""
    limits = limits_of(config)
    while not is_at_limit(progress, limits):
        start = time.perf_counter()
        batch = runners.collect(plan(config, progress.iterations, learner.weights_seq_no), learner.weights)
        sampled = time.perf_counter()
        with interrupts.held():
            gradient = learner.update(batch)
            learnt = time.perf_counter()
            progress.add(batch.episode_returns.tolist(), batch.num_steps, learnt - start)
            metrics = {
                **iteration_metrics(batch, gradient, progress, sampled - start, learnt - sampled),
                "lr": config.lr,
                "num_healthy_env_runners": runners.num_healthy,
                "num_env_runner_restarts": runners.num_restarts,
                "weights_seq_no": learner.weights_seq_no,
                "weights_digest": weights_digest(learner.weights),
            }
            log.write(metrics, batch, progress)
        yield metrics
        if is_solved(progress, limits):
            return


def plan(config: TrainConfig, iteration: int, weights_seq_no: int) -> list[Task]:
    """The tasks of an iteration, from the resolved configuration alone."""
    return tasks_of_iteration(
        iteration, config.episodes_per_iteration, int(config.episodes_per_task), weights_seq_no
    )


@contextlib.contextmanager
def _env_runners(
    config: TrainConfig, policy_spec: PolicySpec, events: EventLog
) -> Iterator[tuple[TrainConfig, EnvRunnerGroup]]:
    """The runners the configuration asks for, and the configuration with their number."""
    spec = env_runner_spec(config, policy_spec)
    if config.num_env_runners == 0:
        with contextlib.closing(InProcessEnvRunnerGroup(spec)) as here:
            yield config, here
        return
    from distpg.ray_cluster import cpus_per_env_runner, ray_cluster

    with ray_cluster(config.address) as cluster:
        from distpg.ray_env_runners import RayEnvRunnerGroup

        number = config.num_env_runners
        if number == "auto":
            number = automatic_num_env_runners(cluster.num_cpus, len(plan(config, 0, 0)))
        cpus = cpus_per_env_runner(cluster, number, config.cpus_per_env_runner)
        with contextlib.closing(RayEnvRunnerGroup(spec, number, cpus, events)) as group:
            group.wait_for(min(config.min_env_runners, number))
            yield replace(config, num_env_runners=number), group


def _result(
    config: TrainConfig, run: Path, progress: Progress, digest: str, wall_s: float, train_s: float
) -> Result:
    solved = is_solved(progress, limits_of(config))
    return Result(
        solved=solved,
        env_steps_to_solve=progress.env_steps if solved else None,
        episodes_to_solve=progress.episodes if solved else None,
        iterations=progress.iterations,
        wall_s=wall_s,
        train_s=train_s,
        weights_digest=digest,
        reproducible=True,
        seed=config.seed,
        versions=_versions(),
        run_dir=str(run),
    )


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": python_version()}
    for package in ("distpg", "ray", "torch", "gymnasium", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
