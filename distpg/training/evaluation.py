"""What a trained policy is worth: episodes of their own, played with a checkpoint's weights."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distpg.core.seeding import Stream
from distpg.environments.envs import env_spec, make_env
from distpg.environments.video import Recording
from distpg.errors import DistpgError
from distpg.runs.checkpoints import find_checkpoint
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.sampler import Play, Trajectories
from distpg.training.prepare import prepared_run

_EPISODES_PER_TASK = 64


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns float64[N] and lengths int32[N] of the episodes played.

    Attributes:
        iterations: After how many iterations the weights were saved.
        video_fault: Why there is no video, where one was asked for.
    """

    iterations: int
    returns: NDArray[np.float64]
    lengths: NDArray[np.int32]
    video_fault: DistpgError | None = None

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def half_width(self) -> float:
        """Half the width of the mean's 95 % interval, in normal approximation; NaN for one episode."""
        if len(self.returns) < 2:
            return float("nan")
        return float(1.96 * self.returns.std(ddof=1) / np.sqrt(len(self.returns)))

    def __str__(self) -> str:
        interval = "" if len(self.returns) < 2 else f" ± {self.half_width:.1f} (95 % interval)"
        return f"{self.mean:.1f}{interval}"


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
    """
    # Absolute before there is an environment, which may change the working directory.
    path, video = Path(run).absolute(), None if video is None else video.absolute()
    prepared = prepared_run(path)
    found = find_checkpoint(path, checkpoint)
    recording = None if video is None else Recording(video)
    spec = env_spec(prepared.config)
    sampler = GymnasiumSampler(
        spec,
        prepared.policy,
        prepared.config.seed,
        Play(Stream.EVALUATION_SEED, Stream.EVALUATION_ACTION, greedy),
        lambda lane: make_env(spec) if recording is None or lane > 0 else recording.watch(spec),
        prepared.config.env_reuse,
        keeps_steps=False,
    )
    sampler.load(found.learner.weights)
    played: list[Trajectories] = []
    video_fault: DistpgError | None = None
    with contextlib.closing(sampler):
        for first in range(0, num_episodes, _EPISODES_PER_TASK):
            count = min(_EPISODES_PER_TASK, num_episodes - first)
            played.append(sampler.sample(first, count))
            if recording is not None:
                try:
                    recording.save()
                except DistpgError as fault:  # the returns are worth having all the same
                    video_fault = fault
                # Where each task has new environments, the next one would be recorded too.
                recording = None
    returns = np.concatenate([batch.episode_returns for batch in played])
    lengths = np.concatenate([batch.lengths for batch in played])
    return Evaluation(found.progress.iterations, returns, lengths, video_fault)
