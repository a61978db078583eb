"""What a trained policy is worth: episodes of their own, played with a checkpoint's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distpg.core.seeding import Stream
from distpg.environments.envs import (
    Env,
    EnvSpec,
    env_spec,
    inspect_env,
    make_env,
)
from distpg.environments.video import Recording
from distpg.runs.directory import load_run_config
from distpg.runs.policy import find_checkpoint
from distpg.sampling.env_runner import policy_spec
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.sampler import Play

_EPISODES_PER_TASK = 64


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns float64[N] and lengths int32[N] of the episodes played.

    Attributes:
        iterations: After how many iterations the weights were saved.
    """

    iterations: int
    returns: NDArray[np.float64]
    lengths: NDArray[np.int32]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def __str__(self) -> str:
        interval = "" if len(self.returns) < 2 else f" ± {self.half_width:.1f} (95 % interval)"
        return f"{self.mean:.1f}{interval}"

    @property
    def half_width(self) -> float:
        """Half the width of the mean's 95 % interval, in normal approximation; NaN for one episode."""
        if len(self.returns) < 2:
            return float("nan")
        return float(1.96 * self.returns.std(ddof=1) / np.sqrt(len(self.returns)))


def evaluate(
    run: str | Path,
    num_episodes: int = 100,
    greedy: bool = True,
    checkpoint: str = "last",
    video: Path | None = None,
) -> Evaluation:
    """Play episodes that no training has seen, the same ones at each call, in this process.

    Args:
        greedy: Always the most probable action; else actions are drawn as in training.
        video: File for the first episode: .gif or .webp.

    Raises:
        RunDirectoryError: This is not a run directory.
        CheckpointError: There is no such checkpoint, or it is damaged.
        EpisodeError: The environment failed.
        StorageError: The video cannot be written.
    """
    config = load_run_config(Path(run))
    info = inspect_env(env_spec(config))
    found = find_checkpoint(Path(run), checkpoint)
    recording = None if video is None else Recording(video)
    play = Play(Stream.EVALUATION_SEED, Stream.EVALUATION_ACTION, greedy)
    sampler = GymnasiumSampler(
        env_spec(config),
        policy_spec(config, info.observation_size, info.num_actions),
        config.seed,
        play,
        lambda lane: _make(env_spec(config), recording if lane == 0 else None),
        config.env_reuse,
    )
    returns, lengths = [], []
    for first in range(0, num_episodes, _EPISODES_PER_TASK):
        count = min(_EPISODES_PER_TASK, num_episodes - first)
        played = sampler.sample(first, count, found.learner.weights)
        returns.append(played.episode_returns)
        lengths.append(played.lengths)
        if recording is not None:
            recording.save()
            # Where each task has new environments, the next one would be recorded too.
            recording = None
    sampler.close()
    return Evaluation(found.progress.iterations, np.concatenate(returns), np.concatenate(lengths))


def _make(spec: EnvSpec, recording: Recording | None) -> Env:
    return make_env(spec) if recording is None else recording.watch(spec)
