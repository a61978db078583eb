"""What happens in the lanes of a task, and how it becomes trajectories."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.sampling.compiled_policy import Steps
from distpg.sampling.sampler import Trajectories


class Record:
    """What happens in each lane, step by step, until it is laid out episode by episode."""

    def __init__(self, num_episodes: int, shape: tuple[int, ...], log_probs: bool) -> None:
        self._log_probs = log_probs
        self.observations = np.empty((num_episodes, 1, *shape), np.float32)
        self.steps = Steps(
            self._flat(),
            np.empty((num_episodes, 0), np.int64),
            np.empty((num_episodes if log_probs else 0, 0), np.float32),
        )
        self.words = np.empty((num_episodes, 4), np.uint32)
        self.rewards: list[list[float]] = [[] for _ in range(num_episodes)]
        self.terminated = np.zeros(num_episodes, np.bool_)
        self.has_ended = [False] * num_episodes

    def _flat(self) -> NDArray[np.float32]:
        return self.observations.reshape(*self.observations.shape[:2], -1)

    def make_room(self, steps: int) -> None:
        """For so many steps, and the observation after the last."""
        self.observations = _longer(self.observations, steps + 1)
        self.steps = Steps(
            self._flat(), _longer(self.steps.actions, steps), _longer(self.steps.log_probs, steps)
        )

    def trajectories(self, action_dtype: np.dtype) -> Trajectories:
        """All of it, once every episode has ended."""
        lengths = [len(rewards) for rewards in self.rewards]

        def joined(array: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([array[lane, :length] for lane, length in enumerate(lengths)])

        return Trajectories(
            observations=joined(self.steps.observations),
            actions=joined(self.steps.actions).astype(action_dtype),
            rewards=np.array(list(itertools.chain.from_iterable(self.rewards)), np.float64),
            lengths=np.array(lengths, np.int32),
            terminated=self.terminated,
            log_probs=joined(self.steps.log_probs) if self._log_probs else None,
        )


def _longer(array: NDArray[Any], steps: int) -> NDArray[Any]:
    """With room for at least so many steps; doubled, so that each step is copied once or twice."""
    have = array.shape[1]
    if steps <= have:
        return array
    room = np.empty((len(array), max(steps, 2 * have), *array.shape[2:]), array.dtype)
    room[:, :have] = array
    return room
