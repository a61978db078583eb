"""A trained policy, from a run's directory, to be used outside distpg."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec, Weights, features, preferences, softmax
from distpg.runs.checkpoints import find_checkpoint
from distpg.training.prepare import prepared_run


@dataclass(frozen=True)
class Policy:
    """A softmax policy with its weights.

    Attributes:
        first_action: What the environment calls the policy's action 0.
    """

    spec: PolicySpec
    weights: Weights
    first_action: int = 0

    def probabilities(self, observation: object) -> NDArray[np.float32]:
        """pi(.|s) for one observation of the environment, float32[number of actions]."""
        inputs = features(np.asarray(observation, np.float32).reshape(1, -1), self.spec.degree)
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
    path = Path(run).absolute()
    prepared = prepared_run(path)
    weights = find_checkpoint(path, checkpoint).learner.weights
    return Policy(prepared.policy, weights, prepared.env.first_action)
