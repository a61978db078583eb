"""What a trained policy is worth: episodes of their own, played with a checkpoint's weights."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import Weights
from distpg.core.tasks import Task
from distpg.environments.envs import make_env
from distpg.environments.making import env_spec
from distpg.environments.video import Recording
from distpg.errors import ConfigError, DistpgError
from distpg.runs.checkpoints import find_checkpoint
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.runner_spec import env_runner_spec
from distpg.sampling.sampler import PLAYS, Trajectories
from distpg.system.interrupts import Interrupts
from distpg.training.prepare import Prepared, prepared_run
from distpg.training.start import started

EPISODES_AT_ONCE = 64


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
    episodes_at_once: int = EPISODES_AT_ONCE,
    num_env_runners: int = 0,
    **of_program: Any,
) -> Evaluation:
    """Play episodes that no training has seen, the same ones at each call.

    Args:
        greedy: Always the most probable action; else actions are drawn as in training.
        video: File for the first episode: .gif, .webp or .mp4.
        episodes_at_once: Environments that are there at once, in this process.
        num_env_runners: Runners that play them; 0: this process does. They get the same returns.
        of_program: ``env_kwargs`` that are added to the run's, or take their place; ``env_id`` and
            ``wrappers`` as :func:`distpg.load_policy` has them.

    Raises:
        RunDirectoryError: This is not a run directory.
        CheckpointError: There is no such checkpoint, or it is damaged.
        EpisodeError: The environment failed.
    """
    # Absolute before there is an environment, which may change the working directory.
    path, video = Path(run).absolute(), None if video is None else video.absolute()
    prepared = prepared_run(path, of_program, may_differ=True)
    found = find_checkpoint(path, checkpoint)
    weights = found.learner.weights
    if (shapes := {name: array.shape for name, array in weights.items()}) != prepared.policy.weight_shapes:
        raise ConfigError(
            f"the policy of {run} is for other observations or actions: its weights are {shapes}, not "
            f"{prepared.policy.weight_shapes}",
            "Give --env-kwargs that leave the spaces as they were.",
        )
    if num_env_runners > 0:
        returns, lengths = _on_runners(prepared, weights, num_episodes, greedy, num_env_runners)
        num_episodes = min(num_episodes, 0 if video is None else 1)
    video_fault: DistpgError | None = None
    if num_episodes > 0:
        here = _here(prepared, weights, num_episodes, greedy, episodes_at_once, video)
        video_fault = here[2]
        if num_env_runners == 0:
            returns, lengths = here[:2]
    return Evaluation(found.progress.iterations, returns, lengths, video_fault)


def _on_runners(
    prepared: Prepared, weights: Weights, num_episodes: int, greedy: bool, num_env_runners: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Returns and lengths; each task is of one episode, as evaluation has few and long ones."""
    config = replace(prepared.config, num_env_runners=num_env_runners, min_env_runners=1)
    tasks = [Task(k, 1, 0, "greedy" if greedy else "sampled") for k in range(num_episodes)]
    with (
        Interrupts() as interrupts,
        started(replace(prepared, config=config), interrupts, lambda event: None, None) as runners,
    ):
        batch = runners.group.collect(runners.group.add(tasks, weights))
    return batch.episode_returns, batch.lengths


def _here(
    prepared: Prepared,
    weights: Weights,
    num_episodes: int,
    greedy: bool,
    episodes_at_once: int,
    video: Path | None,
) -> tuple[NDArray[np.float64], NDArray[np.int32], DistpgError | None]:
    """Returns, lengths, and why there is no video, played in this process."""
    if prepared.config.sampler == "compiled":
        return _compiled_here(prepared, weights, num_episodes, greedy, video)
    recording = None if video is None else Recording(video)
    spec = env_spec(prepared.config)
    sampler = GymnasiumSampler(
        spec,
        prepared.policy,
        prepared.config.seed,
        PLAYS["greedy" if greedy else "sampled"],
        lambda lane: make_env(spec) if recording is None or lane > 0 else recording.watch(spec),
        prepared.config.env_reuse,
        keeps_steps=False,
    )
    sampler.load(weights)
    played: list[Trajectories] = []
    video_fault: DistpgError | None = None
    with contextlib.closing(sampler):
        for first in range(0, num_episodes, episodes_at_once):
            count = min(episodes_at_once, num_episodes - first)
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
    return returns, lengths, video_fault


def _compiled_here(
    prepared: Prepared, weights: Weights, num_episodes: int, greedy: bool, video: Path | None
) -> tuple[NDArray[np.float64], NDArray[np.int32], DistpgError | None]:
    """As :func:`_here`; the first episode is then drawn as Gymnasium plays it."""
    with contextlib.closing(EnvRunner(env_runner_spec(prepared.config, prepared.policy))) as runner:
        batch = runner.sample(Task(0, num_episodes, 0, "greedy" if greedy else "sampled"), weights)
    video_fault = None
    if video is not None:
        as_gymnasium = replace(prepared, config=replace(prepared.config, sampler="gymnasium"))
        video_fault = _here(as_gymnasium, weights, 1, greedy, 1, video)[2]
    return batch.episode_returns, batch.lengths, video_fault
