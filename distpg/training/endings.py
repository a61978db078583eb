"""How a training ends, in whatever way: what is kept of it, closed, and said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distpg.config.train_config import TrainConfig
from distpg.core.events import Advice, EpisodeFailed, OnEvent
from distpg.core.seeding import environment_seed
from distpg.errors import OF_EVALUATION, DivergenceError, EpisodeError, StorageError, in_words
from distpg.runs.plots import plot_run
from distpg.runs.progress import Progress
from distpg.runs.recorder import Recorder
from distpg.system.interrupts import Interrupted, Interrupts

if TYPE_CHECKING:
    from distpg.learning.learner import Learner

_Begun = TypeVar("_Begun")


@contextlib.contextmanager
def interruption_names(run: Path) -> Iterator[None]:
    """A KeyboardInterrupt has the run that it interrupts as its argument."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (str(run),)
        raise


@contextlib.contextmanager
def closed_whatever(runners: contextlib.AbstractContextManager[_Begun], tell: OnEvent) -> Iterator[_Begun]:
    """Runners for a while; what an environment raises when it is closed is said, and ends nothing."""
    stack = contextlib.ExitStack()
    begun = stack.enter_context(runners)
    try:
        yield begun
    finally:
        try:
            stack.close()
        except Interrupted:
            raise
        except BaseException as fault:
            why = f"what played the episodes could not be closed: {in_words(fault)}"
            tell(Advice(why, "The files of the run are as they should be."))


def draw_and_close(run: Path, runners: contextlib.ExitStack, are_elsewhere: bool) -> None:
    """Draw the figures and close the runners: meanwhile, if no environment is closed in this process.

    Closing one may change what is the process's, such as filters of warnings. Whatever ends either, the other
    is finished; an error or interrupt of closing is the one that is raised.
    """
    if not are_elsewhere:
        plot_run(run)
        runners.close()
        return
    with ThreadPoolExecutor(max_workers=1) as thread:
        figures = thread.submit(plot_run, run)
        runners.close()
        figures.result()


@contextlib.contextmanager
def last_update_kept(
    recorder: Recorder, learner: Learner, progress: Progress, interrupts: Interrupts
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
        raise


@contextlib.contextmanager
def failure_named(run: Path, config: TrainConfig, tell: OnEvent) -> Iterator[None]:
    """An environment's failure names the command that shows it again."""
    try:
        yield
    except EpisodeError as error:
        if error.episode == OF_EVALUATION:
            raise
        tell(EpisodeFailed(error.episode, error.message))
        seed = environment_seed(config.seed, error.episode)
        hint = f"Its reset seed is {seed}. See it fail again: distpg replay {run} --episode {error.episode}"
        raise EpisodeError(error.message, hint, error.episode) from error
