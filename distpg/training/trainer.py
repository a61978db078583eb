"""The training loop: collect complete episodes, update, record, until solved or out of budget."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.events import Event, OnEvent
from distpg.core.policies import weights_digest
from distpg.core.summaries import Summary, summary_of
from distpg.learning.passes import AtRunners
from distpg.learning.schedules import entropy_coefficient, learning_rate
from distpg.learning.stagnation import Watch
from distpg.runs.checkpoints import Checkpoint
from distpg.runs.directory import exclusive, new_run_directory, write_run_config
from distpg.runs.events import EventLog, why_not_reproducible
from distpg.runs.metrics import Metrics, iteration_metrics
from distpg.runs.progress import Progress, is_finished
from distpg.runs.recorder import Clock, Recorder
from distpg.runs.results import Result, write_result
from distpg.system.garbage import load
from distpg.system.interrupts import Interrupts
from distpg.training import endings
from distpg.training.periodic import evaluated_or_undone, periodic_evaluation
from distpg.training.platform import platform_of
from distpg.training.preflight import check_before_start
from distpg.training.prepare import Prepared, prepare
from distpg.training.rollouts import Rollouts
from distpg.training.start import compiling, starting

if TYPE_CHECKING:
    from distpg.learning.learner import Gradient, Learner


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
    # Absolute before there is an environment, which may change the working directory.
    where = Path(config.run_dir or "runs").absolute()
    prepared = prepare(config)
    check_before_start(prepared.config, where)
    run = new_run_directory(prepared.config, where)
    given = Path(config.run_dir or Path("runs", run.name))
    with exclusive(run):
        return train_on(run, given, prepared, clock, listeners or Listeners(), prepared.events)


def train_on(
    run: Path,
    given: Path,
    prepared: Prepared,
    clock: Clock,
    listeners: Listeners,
    events: Sequence[Event],
    checkpoint: Checkpoint | None = None,
) -> Result:
    """Train from where the run stands to its end; its directory is absolute, and as the user gave it."""
    config = prepared.config
    write_run_config(run, config)
    progress = Progress() if checkpoint is None else checkpoint.progress
    with endings.interruption_names(given), Interrupts() as interrupts, contextlib.ExitStack() as closed_last:
        tell = EventLog(run, listeners.on_event)
        for event in events:
            tell(event)
        why_not = why_not_reproducible(run)
        saved = None if checkpoint is None else progress.iterations
        before_gradient = closed_last.enter_context(compiling(prepared, tell))
        if goes_on := not is_finished(progress, config):
            begun = starting(prepared, interrupts, tell, why_not, run.name)
            ready = closed_last.enter_context(endings.closed_whatever(begun, tell))
        # Here, with torch, while runners start.
        load("distpg.learning.learner")
        from distpg.learning.learner import Learner

        learner = Learner(config, prepared.policy)
        if checkpoint is not None:
            learner.restore(checkpoint.learner)
        platform = platform_of(config, prepared.policy, before_gradient)
        with Recorder(run, config, platform, clock, saved) as recorder:
            with interrupts.held():
                recorder.checkpoint(learner, progress)
            if goes_on:
                runners = ready(progress.iterations, learner.earlier_weights)
                write_run_config(run, runners.config)
                listeners.on_start(runners.config, given)
                clock.training_begins()
                with (
                    endings.last_update_kept(recorder, learner, progress, interrupts),
                    endings.failure_named(given, config, tell),
                ):
                    for metrics in iterate(config, learner, runners, progress, recorder, interrupts, tell):
                        listeners.on_iteration(metrics)
                    with interrupts.held():
                        recorder.checkpoint(learner, progress)
                why_not = runners.why_not_reproducible
        digest, times = weights_digest(learner.weights), (clock.wall_s, clock.train_s)
        result = write_result(run, str(given), config, progress, digest, *times, why_not)
        endings.draw_and_close(run, closed_last, are_elsewhere=config.num_env_runners != 0)
    return result


def iterate(
    config: TrainConfig,
    learner: "Learner",
    runners: Rollouts,
    progress: Progress,
    recorder: Recorder,
    interrupts: Interrupts,
    tell: OnEvent = lambda event: None,
) -> Iterator[Metrics]:
    """The algorithm (article, REINFORCE with baseline), an iteration at a time until solved or at a limit."""
    goal = None if config.stop_return is None else float(config.stop_return)
    watch = Watch(goal, is_new=progress.iterations == 0)
    while not is_finished(progress, config):
        start = time.perf_counter()
        episodes = runners.play(progress.iterations, learner.weights)
        sample_s = time.perf_counter() - start
        with interrupts.held():
            with evaluated_or_undone(config, learner, progress):
                metrics, summary, gradient = learn(config, learner, episodes, progress, sample_s)
                metrics |= periodic_evaluation(config, learner, runners, progress, interrupts)
            metrics["num_healthy_env_runners"] = runners.group.num_healthy
            metrics["num_env_runner_restarts"] = runners.group.num_restarts
            recorder.record(metrics, summary, learner, progress)
        for event in watch.see(summary, gradient):
            tell(event)
        runners.group.publish(metrics)
        yield metrics


def learn(
    config: TrainConfig,
    learner: "Learner",
    episodes: EpisodeBatch | AtRunners,
    progress: Progress,
    sample_s: float,
) -> tuple[Metrics, Summary, "Gradient"]:
    """One update from the iteration's episodes, played in ``sample_s`` seconds; counted in ``progress``."""
    start = time.perf_counter()
    lr = learning_rate(config, progress.env_steps)
    entropy_coef = entropy_coefficient(config, progress.env_steps)
    gradient = learner.update(episodes, lr, entropy_coef)
    learn_s = time.perf_counter() - start
    summary = summary_of(episodes) if isinstance(episodes, EpisodeBatch) else episodes.gathered.summary
    progress.add(summary.episode_returns.tolist(), summary.num_steps, sample_s + learn_s)
    metrics = {
        **iteration_metrics(summary, gradient, progress, sample_s, learn_s),
        "lr": lr,
        "weights_seq_no": learner.weights_seq_no,
        "weights_digest": weights_digest(learner.weights),
    }
    return metrics, summary, gradient
