"""Going on with a run from its last good checkpoint, as if it had never stopped."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from distpg.config.option_types import option_name
from distpg.config.train_config import TrainConfig, check_resumable
from distpg.core.events import CheckpointDamaged, Event, NotReproducible, RunFinishedAlready, RunResumed
from distpg.runs.checkpoints import check_same_options, newest_checkpoint
from distpg.runs.directory import exclusive, load_run_config
from distpg.runs.history import mend_logs
from distpg.runs.progress import Progress, is_finished, is_solved
from distpg.runs.recorder import Clock
from distpg.runs.results import Result, read_result
from distpg.training.platform import platform_change, platform_of
from distpg.training.preflight import check_before_start
from distpg.training.prepare import prepare
from distpg.training.trainer import Listeners, train_on


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
        KeyboardInterrupt: As :func:`distpg.train`.
    """
    given, listeners = Path(run), listeners or Listeners()
    run = given.absolute()
    before = load_run_config(run)
    check_resumable(before, replace(before, **changes))
    prepared = prepare(replace(before, **changes))
    config = prepared.config
    check_before_start(config, run)
    with exclusive(run):
        events: list[Event] = [*prepared.events]
        checkpoint = newest_checkpoint(
            run, on_damaged=lambda error: events.append(CheckpointDamaged(error.message))
        )
        clock, progress = Clock(), Progress()
        if checkpoint is not None:
            check_same_options(run, checkpoint, config)
            clock, progress = Clock(checkpoint.wall_s, checkpoint.train_s), checkpoint.progress
            if (
                why := platform_change(checkpoint.platform, platform_of(prepared.config, prepared.policy))
            ) is not None:
                events.append(NotReproducible(why))
        result = read_result(run)
        if is_finished(progress, config) and result is not None:
            to_go_on = _to_go_on(given, before, config, progress)
            listeners.on_event(RunFinishedAlready(progress.iterations, to_go_on))
            return result
        events.append(RunResumed(progress.iterations))
        events += mend_logs(run, progress, config.episodes_per_iteration)
        return train_on(run, given, prepared, clock, listeners, events, checkpoint)


def _to_go_on(run: Path, before: TrainConfig, config: TrainConfig, progress: Progress) -> str:
    """The command for a finished run to be trained further, with the limits that were raised already."""
    command = ["distpg resume", shlex.quote(str(run))]
    if is_solved(progress, config):
        command.append("--stop-return none")
    used = {"max_env_steps": progress.env_steps, "max_iterations": progress.iterations}
    for name, number in used.items():
        limit = getattr(config, name)
        if limit is not None and number >= limit:
            limit = 2 * number
        if limit != getattr(before, name):
            command.append(f"{option_name(name)} {'none' if limit is None else limit}")
    return " ".join(command)
