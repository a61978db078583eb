"""A trained policy, from a run's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec, Weights, features, preferences, softmax
from distpg.environments.envs import env_spec, flat_observation, inspect_env
from distpg.errors import CheckpointError, ConfigError
from distpg.runs.checkpoints import Checkpoint, best_checkpoint, load_checkpoint, newest_checkpoint
from distpg.runs.directory import load_run_config
from distpg.sampling.env_runner import policy_spec


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
