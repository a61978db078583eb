"""What a trained policy is worth: episodes of their own, played with a checkpoint's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distpg.checkpoints import Checkpoint, best_checkpoint, load_checkpoint, newest_checkpoint
from distpg.envs import Env, EnvSpec, env_spec, flat_observation, inspect_env, make_env
from distpg.errors import CheckpointError, ConfigError
from distpg.policies import PolicySpec, Weights, features, policy_spec, preferences, softmax
from distpg.run_directory import load_run_config
from distpg.samplers import Play
from distpg.samplers.gymnasium_sampler import GymnasiumSampler
from distpg.seeding import Stream
from distpg.video import Recording

_EPISODES_PER_TASK = 64


@dataclass(frozen=True)
class Policy:
    """A softmax policy with its weights, to be used outside distpg.

    Attributes:
        first_action: What the environment calls the policy's action 0.
    """

    spec: PolicySpec
    weights: Weights
    first_action: int = 0

    def probabilities(self, observation: object) -> NDArray[np.float32]:
        """pi(.|s) for one observation of the environment, float32[number of actions]."""
        inputs = features(flat_observation(observation)[None], self.spec.degree)
        probabilities: NDArray[np.float32] = softmax(preferences(self.weights, inputs))[0]
        return probabilities

    def act(self, observation: object) -> int:
        """The most probable action for one observation, as ``env.step`` takes it."""
        return int(self.probabilities(observation).argmax()) + self.first_action


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


def load_policy(run: str | Path, checkpoint: str = "last") -> Policy:
    """The policy of a run's checkpoint: ``last``, ``best``, or the number of its iterations.

    Raises:
        RunDirectoryError: This is not a run directory.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    config = load_run_config(Path(run))
    env = inspect_env(env_spec(config))
    found = find_checkpoint(Path(run), checkpoint)
    spec = policy_spec(config, env.observation_size, env.num_actions)
    return Policy(spec, found.learner.weights, env.first_action)


def find_checkpoint(run: Path, which: str) -> Checkpoint:
    """A run's checkpoint: ``last``, ``best``, or the number of its iterations.

    Raises:
        ConfigError: ``which`` is none of these.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    is_number = which.isascii() and which.isdigit() and len(which) < 16
    if which not in ("last", "best") and not is_number:
        raise ConfigError(f"--checkpoint cannot be {which!r}", "It takes last or best or a whole number.")
    if is_number:
        return load_checkpoint(run, int(which))
    if which == "best" and (best := best_checkpoint(run)) is not None:
        return load_checkpoint(run, best)
    newest = newest_checkpoint(run)
    if newest is None:
        raise CheckpointError(f"{run} has no good checkpoint", "Resume the run: distpg resume RUN.")
    return newest


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
