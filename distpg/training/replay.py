"""Any episode of a run played again, from the run's directory and the episode's number."""

import contextlib
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import actions_digest, episode_starts
from distpg.core.policies import Weights
from distpg.core.seeding import environment_seed
from distpg.environments.envs import make_env
from distpg.environments.making import Env, env_spec
from distpg.environments.video import Recording, Shown
from distpg.errors import ConfigError, DistpgError, ReplayError
from distpg.learning.learner import Learner
from distpg.runs.checkpoints import check_same_options, newest_checkpoint
from distpg.runs.events import read_events
from distpg.runs.metrics import EPISODE_COLUMNS
from distpg.runs.progress import Progress
from distpg.sampling.compiled_sampler import CompiledSampler
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.new_sampler import new_sampler
from distpg.sampling.runner_spec import env_runner_spec
from distpg.sampling.sampler import TRAINING
from distpg.system.interrupts import Interrupts
from distpg.training.prepare import Prepared, prepared_run
from distpg.training.runners import plan
from distpg.training.start import started
from distpg.training.trainer import learn

_NUMBERS_SHOWN = 6


@dataclass(frozen=True)
class Episode:
    """One episode as it was played: T steps.

    Attributes:
        observations: float32 or uint8[T, observation size], what the policy saw before each action.
        actions: [T], categories from 0, or [T, parts].
        rewards: float64[T].
        video_fault: Why there is no video, where one was asked for.
    """

    number: int
    observations: NDArray[np.float32] | NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: bool
    video_fault: DistpgError | None = None

    @property
    def total(self) -> float:
        """The undiscounted return, summed as in training."""
        return float(np.add.reduceat(self.rewards, [0])[0])

    @property
    def actions_digest(self) -> str:
        """As in episodes.csv."""
        return actions_digest(self.actions)


def replay(
    run: str | Path,
    episode: int,
    render: bool = False,
    video: Path | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
    **of_program: Any,
) -> Episode:
    """Play an episode of a run again and compare it with what episodes.csv says of it.

    Training goes on in memory from the newest checkpoint at or before the episode's iteration. Nothing is
    written to the run.

    Args:
        render: Show the environment's own window.
        video: File for the episode: .gif, .webp or .mp4.
        on_progress: Told how far training has to go.
        of_program: ``env_id``, ``env_kwargs``, ``wrappers`` or ``policy``, where the run's are classes,
            functions or values of the program that started it: they are asked for again.

    Raises:
        RunDirectoryError: This is not a run directory.
        ConfigError: The run has not played this episode.
        EpisodeError: The environment fails in the episode's task, as it did in the run.
        ReplayError: The episode is not as recorded.
        RenderError: The window cannot be drawn.
    """
    # Absolute before there is an environment, which may change the working directory.
    run, video = Path(run).absolute(), None if video is None else video.absolute()
    prepared = prepared_run(run, of_program)
    config, spec = prepared.config, env_spec(prepared.config)
    recorded = _recorded(run, config, episode)
    recording = None if video is None else Recording(video)
    iteration = episode // config.episodes_per_iteration
    (task,) = [t for t in plan(config, iteration) if 0 <= episode - t.first_episode < t.num_episodes]
    weights = _weights_after(task.weights_seq_no, run, prepared, iteration, on_progress)
    if config.env_reuse == "seeded":  # one environment plays all: what is watched is the one episode
        task = task._replace(first_episode=episode, num_episodes=1)
    lane = episode - task.first_episode

    def make(number: int) -> Env:
        if number != lane:
            return make_env(spec)
        if recording is not None:
            return recording.watch(spec)
        return Shown(make_env(spec, render_mode="human"), spec.env_id) if render else make_env(spec)

    if config.sampler == "compiled":
        sampler: GymnasiumSampler | CompiledSampler = new_sampler(
            env_runner_spec(config, prepared.policy, rewards=True)
        )
    else:
        sampler = GymnasiumSampler(spec, prepared.policy, config.seed, TRAINING, make, config.env_reuse)
    with contextlib.closing(sampler):
        batch = sampler.sample(task.first_episode, task.num_episodes, weights)
    start = int(episode_starts(batch.lengths)[lane])
    steps = slice(start, start + int(batch.lengths[lane]))
    steps_played = (batch.observations[steps], batch.actions[steps], batch.rewards[steps])
    played = Episode(episode, *steps_played, bool(batch.terminated[lane]))
    if config.sampler == "compiled" and (render or recording is not None):
        _watch(make(lane), environment_seed(config.seed, episode), played.actions)
    if recording is not None:
        try:
            recording.save()
        except DistpgError as fault:  # the episode is worth seeing all the same
            played = replace(played, video_fault=fault)
    if recorded is None:
        raise ReplayError(
            f"episode {episode} failed in the run, and does not fail now",
            "The environment depends on more than its seed and actions.",
        )
    _compare(played, recorded)
    return played


def _watch(env: Env, seed: int, actions: NDArray[Any]) -> None:
    """Let Gymnasium's environment make the steps of an episode that was compiled."""
    with contextlib.closing(env):
        env.reset(seed=seed)
        for action in actions.tolist():
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:  # it may differ in the last bits, and so end a step apart
                break


def _recorded(run: Path, config: TrainConfig, episode: int) -> dict[str, str] | None:
    """The episode's line of episodes.csv; None for one in which the run failed."""
    try:
        with (run / "episodes.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["episode_id"] == str(episode)]
    except FileNotFoundError:
        rows = []
    if rows and all(rows[0].get(column) for column in EPISODE_COLUMNS):
        return rows[0]
    failures = [event for event in read_events(run) if event.get("event") == "episode_failed"]
    if any(event.get("episode") == episode for event in failures):
        return None
    newest = newest_checkpoint(run)
    if newest is not None and 0 <= episode < newest.progress.episodes:
        raise ConfigError(
            f"{run}/episodes.csv has lost the line of episode {episode}, with which it would be compared",
            "Other episodes can be replayed; after a resume events.jsonl says which lines are lost.",
        )
    raise ConfigError(f"{run} has not played episode {episode}", f"Its episodes are in {run}/episodes.csv.")


def _weights_after(
    updates: int, run: Path, prepared: Prepared, iteration: int, on_progress: Callable[[str], None]
) -> Weights:
    """The weights after so many updates, which play this iteration."""
    config = replace(prepared.config, num_env_runners=0, address=None, max_iterations=None, audit_every=0)
    learner, progress = Learner(config, prepared.policy), Progress()
    checkpoint = newest_checkpoint(run, iteration)
    if checkpoint is not None:
        check_same_options(run, checkpoint, config)
        learner.restore(checkpoint.learner)
        progress = checkpoint.progress
    on_progress(
        f"From the weights after {progress.iterations} iterations, "
        f"training {max(0, updates - progress.iterations)} more in memory."
    )
    here, first, earlier = replace(prepared, config=config), progress.iterations, learner.earlier_weights
    with (
        Interrupts() as interrupts,
        started(here, interrupts, lambda event: None, None, first, earlier) as runners,
    ):
        while progress.iterations < updates:
            episodes = runners.play(progress.iterations, learner.weights)
            learn(config, learner, episodes, progress, sample_s=0.0)
    # A checkpoint between the two has the weights of the updates that the iteration lags behind.
    known = (*learner.earlier_weights, learner.weights)
    return known[updates - learner.weights_seq_no - 1]


def _compare(played: Episode, recorded: dict[str, str]) -> None:
    found = {
        "episode_return": repr(played.total),
        "episode_len": str(len(played.rewards)),
        "terminated": str(played.terminated).lower(),
        "actions_digest": played.actions_digest,
    }
    for column, value in found.items():
        if recorded[column] != value:
            raise ReplayError(
                f"episode {played.number} is not as recorded: {column} is {value}, "
                f"episodes.csv has {recorded[column]}",
                "The environment depends on more than its seed and actions, or versions or CPU differ.",
            )


def _in_short(action: Any) -> str:
    """An action: its number, or its first few."""
    if not isinstance(action, list):
        return str(action)
    more = " …" if len(action) > _NUMBERS_SHOWN else ""
    return " ".join(f"{part:.4g}" for part in action[:_NUMBERS_SHOWN]) + more


def show(episode: Episode) -> str:
    """The episode for people: a line a step, then its figures."""
    lines = [f"{'t':>5}  {'action':>6}  {'reward':>10}  observation"]
    more = " …" if episode.observations.shape[1] > _NUMBERS_SHOWN else ""
    for t, (action, reward) in enumerate(
        zip(episode.actions.tolist(), episode.rewards.tolist(), strict=True)
    ):
        numbers = " ".join(f"{number:>9.4f}" for number in episode.observations[t, :_NUMBERS_SHOWN].tolist())
        lines.append(f"{t:>5}  {_in_short(action):>6}  {reward:>10.4f}  {numbers}{more}")
    end = "terminated" if episode.terminated else "cut by the time limit"
    lines.append(
        f"episode {episode.number}: return {episode.total:g}, {len(episode.rewards)} steps, {end}, "
        f"actions {episode.actions_digest}: as recorded"
    )
    return "\n".join(lines)
