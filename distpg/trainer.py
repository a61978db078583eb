"""The training loop: collect complete episodes, update, record, until solved or out of budget."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distpg.checkpoints import (
    Checkpoint,
    check_same_options,
    newest_checkpoint,
    remove_checkpoints_after,
)
from distpg.collector import Collector
from distpg.config import (
    TrainConfig,
    check_resumable,
    config_to_json,
    resolve_config,
)
from distpg.env_runner_groups import env_runners
from distpg.env_runners import EnvRunnerGroup
from distpg.envs import EnvSpec, env_spec, inspect_env
from distpg.episodes import EpisodeBatch
from distpg.errors import DivergenceError, EpisodeError, StorageError
from distpg.events import Event, EventLog
from distpg.fingerprint import platform_change, platform_of
from distpg.history import cut_back, recorded_iterations
from distpg.interrupts import Interrupts
from distpg.learner import Learner
from distpg.metrics import Metrics, iteration_metrics
from distpg.plots import plot_run
from distpg.policies import PolicySpec, policy_spec, weights_digest
from distpg.preflight import check_before_start
from distpg.recorder import Clock, Recorder
from distpg.reproducibility import EnvReuse, verdict_of
from distpg.results import Result, make_result, read_result, write_result
from distpg.run_directory import exclusive, load_run_config, new_run_directory, write_atomically
from distpg.samplers.compile_cache import do_without_cache
from distpg.schedules import learning_rate
from distpg.seeding import environment_seed
from distpg.stopping import Progress, is_finished


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
        KeyboardInterrupt: SIGINT or SIGTERM; the state after the last completed update is on disk.
    """
    clock = Clock()
    events: list[Event] = []
    config, policy = prepare(config, events.append)
    check_before_start(config)
    run = new_run_directory(config)
    with exclusive(run):
        return _go(run, config, policy, clock, listeners or Listeners(), events_so_far=events)


def resume(run: str | Path, listeners: Listeners | None = None, **changes: Any) -> Result:
    """Go on with a run from its last good checkpoint, bit for bit as if it had never stopped.

    Args:
        run: The run's directory.
        changes: Options to change: those that cannot change the result, and limits that are raised.

    Returns:
        The result of the run as a whole; at once if the run is finished already.

    Raises:
        RunDirectoryError: There is no such run, or it is in use.
        CheckpointError: Its checkpoints are of another configuration, or of a newer version.
        ConfigError: A change would change the result.
        DistpgError: Training failed.
        KeyboardInterrupt: As :func:`train`.
    """
    run, listeners = Path(run), listeners or Listeners()
    before = load_run_config(run)
    check_resumable(before, replace(before, **changes))
    config, policy = prepare(replace(before, **changes))
    check_before_start(config, run)
    with exclusive(run):
        events: list[Event] = []
        checkpoint = newest_checkpoint(
            run,
            recorded_iterations(run, config.episodes_per_iteration),
            lambda error: events.append({"event": "checkpoint_damaged", "why": error.message}),
        )
        clock, progress = Clock(), Progress()
        if checkpoint is not None:
            check_same_options(run, checkpoint, config)
            clock, progress = Clock(checkpoint.wall_s, checkpoint.train_s), checkpoint.progress
            if (why := platform_change(checkpoint.platform, platform_of(policy))) is not None:
                events.append({"event": "not_reproducible", "why": why})
        result = read_result(run)
        if is_finished(progress, config) and result is not None:
            listeners.on_event({"event": "run_finished_already", "iterations": progress.iterations})
            return result
        events.append({"event": "run_resumed", "iterations": progress.iterations})
        cut_back(run, progress.iterations, progress.episodes)
        remove_checkpoints_after(run, -1 if checkpoint is None else progress.iterations)
        return _go(run, config, policy, clock, listeners, checkpoint, events)


def prepare(
    config: TrainConfig, on_event: Callable[[Event], None] = lambda event: None
) -> tuple[TrainConfig, PolicySpec]:
    """The configuration without ``auto`` (but for the runners), and the shape of its policy.

    Args:
        on_event: Told if the environment is not reproducible. It is checked only where ``env_reuse`` is
            ``auto``, so never again for a run that has begun.

    Raises:
        ConfigError: The environment is not there, or does not suit the policy.
    """
    if not config.compile_cache:
        do_without_cache()
    spec = env_spec(config)
    env = inspect_env(spec)
    policy = policy_spec(config, env.observation_size, env.num_actions)
    reuse: EnvReuse = "always"
    if config.env_reuse == "auto":
        reuse = _checked_reuse(spec, config.num_env_runners == 0, on_event)
    return resolve_config(config, env.reward_threshold, reuse), policy


def _checked_reuse(spec: EnvSpec, in_this_process: bool, on_event: Callable[[Event], None]) -> EnvReuse:
    verdict = verdict_of(spec)
    why = verdict.why_not_reproducible(os.environ.get("PYTHONHASHSEED") if in_this_process else "0")
    if why is not None:
        on_event({"event": "not_reproducible", "why": why})
    if verdict.details is not None:
        on_event({"event": "env_not_checked", "why": verdict.details})
    return verdict.env_reuse


def _go(
    run: Path,
    config: TrainConfig,
    policy: PolicySpec,
    clock: Clock,
    listeners: Listeners,
    checkpoint: Checkpoint | None = None,
    events_so_far: Sequence[Event] = (),
) -> Result:
    """Train from where the run stands to its end, and write what a finished run has."""
    _write_config(run, config)
    learner, progress = Learner(config, policy), Progress()
    if checkpoint is not None:
        learner.restore(checkpoint.learner)
        progress = checkpoint.progress
    with contextlib.ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        events = EventLog(run, listeners.on_event)
        for event in events_so_far:
            events(event)
        saved = None if checkpoint is None else progress.iterations
        recorder = stack.enter_context(Recorder(run, config, platform_of(policy), clock, saved))
        with interrupts.held():
            recorder.checkpoint(learner, progress)
        if not is_finished(progress, config):
            config, runners = stack.enter_context(env_runners(config, policy, events, interrupts, run.name))
            _write_config(run, config)
            listeners.on_start(config, run)
            clock.training_begins()
            with _saved_if_stopped(run, config, recorder, learner, progress, events, interrupts):
                for metrics in iterate(config, learner, runners, progress, recorder, interrupts):
                    listeners.on_iteration(metrics)
                with interrupts.held():
                    recorder.checkpoint(learner, progress)
    digest = weights_digest(learner.weights)
    result = make_result(run, config, progress, digest, clock.wall_s, clock.train_s, events.why_not)
    write_result(run, result)
    plot_run(run)
    return result


def iterate(
    config: TrainConfig,
    learner: Learner,
    runners: EnvRunnerGroup,
    progress: Progress,
    recorder: Recorder,
    interrupts: Interrupts,
) -> Iterator[Metrics]:
    """The algorithm (article, REINFORCE with baseline), an iteration at a time until solved or at a limit."""
    collector = Collector(config, runners, progress.iterations, learner.earlier_weights)
    while not is_finished(progress, config):
        start = time.perf_counter()
        batch = collector.collect(progress.iterations, learner.weights)
        sampled = time.perf_counter()
        with interrupts.held():
            metrics = {
                **update(config, learner, batch, progress, sampled - start),
                "num_healthy_env_runners": runners.num_healthy,
                "num_env_runner_restarts": runners.num_restarts,
            }
            recorder.record(metrics, batch, learner, progress)
        runners.publish(metrics)
        yield metrics


def update(
    config: TrainConfig, learner: Learner, batch: EpisodeBatch, progress: Progress, sample_s: float
) -> Metrics:
    """One update from the iteration's batch, which took ``sample_s`` seconds; counted in ``progress``."""
    start = time.perf_counter()
    lr = learning_rate(config, progress.env_steps)
    gradient = learner.update(batch, lr)
    learn_s = time.perf_counter() - start
    progress.add(batch.episode_returns.tolist(), batch.num_steps, sample_s + learn_s)
    return {
        **iteration_metrics(batch, gradient, progress, sample_s, learn_s),
        "lr": lr,
        "weights_seq_no": learner.weights_seq_no,
        "weights_digest": weights_digest(learner.weights),
    }


@contextlib.contextmanager
def _saved_if_stopped(
    run: Path,
    config: TrainConfig,
    recorder: Recorder,
    learner: Learner,
    progress: Progress,
    events: EventLog,
    interrupts: Interrupts,
) -> Iterator[None]:
    """Whatever ends training early, a signal or a fault of anything else: keep the last completed update."""
    try:
        yield
    except BaseException as error:
        # An update that failed half-way is not completed, and its weights may be of no use.
        is_whole = learner.weights_seq_no == progress.iterations
        if is_whole and not isinstance(error, (DivergenceError, StorageError)):
            with interrupts.held():
                recorder.checkpoint(learner, progress)
        if not isinstance(error, EpisodeError):
            raise
        events({"event": "episode_failed", "episode": error.episode, "why": error.message})
        seed = environment_seed(config.seed, error.episode)
        hint = f"Its reset seed is {seed}. See it fail again: distpg replay {run} --episode {error.episode}"
        raise EpisodeError(error.message, hint, error.episode) from error


def _write_config(run: Path, config: TrainConfig) -> None:
    write_atomically(run / "config.json", config_to_json(config).encode())
