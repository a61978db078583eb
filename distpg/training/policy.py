"""A trained policy, from a run's directory, to be used outside distpg."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec, Weights, features, normalised, preferences, softmax
from distpg.environments.envs import EnvInfo
from distpg.environments.spaces import flat_mask
from distpg.runs.checkpoints import find_checkpoint
from distpg.sampling.module_policy import ModulePolicy
from distpg.training.prepare import prepared_run


@dataclass(frozen=True)
class Policy:
    """A policy with its weights, and how its environment's observations and actions are read."""

    spec: PolicySpec
    weights: Weights
    env: EnvInfo
    module: ModulePolicy | None = None
    is_masked: bool = False

    def outputs(self, observation: object) -> NDArray[np.float32]:
        """Action preferences, or means of numbers, for one of the environment's observations, float32."""
        encode = self.env.observations.encode
        encoded = np.asarray(observation if encode is None else encode(observation))
        rows = encoded.reshape(1, -1)
        if self.module is not None:
            return self.module.outputs(rows)[0, : sum(self.spec.action_sizes)]
        inputs = features(normalised(rows, self.weights), self.spec.degree)
        outputs: NDArray[np.float32] = preferences(self.weights, inputs)[0]
        return outputs

    def probabilities(self, observation: object) -> NDArray[np.float32]:
        """pi(.|s) for one observation of the environment, float32[number of actions].

        Of an action of several parts, the categories of the first, then of the second, and so on. Raises
        ValueError where actions are numbers.
        """
        if not self.spec.is_categorical:
            raise ValueError("actions are numbers, which have no probabilities")
        parts = np.split(self.outputs(observation), np.cumsum(self.spec.action_sizes)[:-1])
        return np.concatenate([softmax(part[None])[0] for part in parts])

    def act(self, observation: object, mask: object = None) -> Any:
        """The most probable action for one observation, as ``env.step`` takes it.

        Args:
            mask: bool[number of actions], those that are legal; default: all, or as the observation says.

        Raises:
            ValueError: No action is legal, or none of a part of it.
        """
        outputs = self.outputs(observation)
        if not self.spec.is_categorical:
            numbers = np.tanh(outputs) if self.spec.distribution == "tanh-normal" else outputs
            return self.env.actions.decode(numbers[None])[0]
        if mask is None and self.is_masked and isinstance(observation, dict):
            mask = observation.get("action_mask")
        if mask is not None:
            outputs = np.where(flat_mask(mask), outputs, -np.inf)
        parts = np.split(outputs, np.cumsum(self.spec.action_sizes)[:-1])
        if any(np.isneginf(part).all() for part in parts):
            raise ValueError("the mask leaves no legal action")
        return self.env.actions.decode(np.array([[part.argmax() for part in parts]]))[0]


def load_policy(run: str | Path, checkpoint: str = "last", **of_program: Any) -> Policy:
    """The policy of a run's checkpoint: ``last``, ``best``, or the number of its iterations.

    Args:
        of_program: ``env_id``, ``env_kwargs``, ``wrappers`` or ``policy``, where the run's are classes,
            functions or values of the program that started it: they are asked for again.

    Raises:
        RunDirectoryError: This is not a run directory.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    path = Path(run).absolute()
    prepared = prepared_run(path, of_program)
    weights = find_checkpoint(path, checkpoint).learner.weights
    module = None
    if prepared.policy.module:
        module = ModulePolicy(prepared.policy, prepared.config.seed)
        module.load(weights)
    is_masked = prepared.config.action_mask == "observation"
    return Policy(prepared.policy, weights, prepared.env, module, is_masked)
