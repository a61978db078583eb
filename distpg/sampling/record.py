"""What happens in the lanes of a task, and how it becomes trajectories."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec
from distpg.environments.spaces import Observations
from distpg.sampling.compiled_policy import Steps
from distpg.sampling.sampler import Trajectories

# Steps are kept in stretches of equal length, so that none is copied more than once, when the last one is
# done; large observations in shorter ones.
_STRETCH_STEPS, _STRETCH_BYTES = 128, 64 * 2**20


@dataclass(frozen=True)
class Shapes:
    """Of a step: its observation, an action's parts and dtype, and a mask's length, 0 where there is none."""

    observations: Observations
    parts: int
    actions: type[np.int64 | np.float32]
    mask: int


class Record:
    """What happens in each lane, step by step, until it is laid out episode by episode.

    Args:
        log_probs: Whether log-probabilities are kept, and keeps_steps: observations and actions. Without them
            its memory is that of one stretch.

    Attributes:
        at: Where the present step is in ``steps``.
    """

    def __init__(
        self, num_episodes: int, shapes: Shapes, log_probs: bool = False, keeps_steps: bool = True
    ) -> None:
        self._shapes = shapes
        self._log_probs = log_probs
        self._keeps_steps = keeps_steps
        each = shapes.observations.dtype.itemsize * shapes.observations.size + shapes.mask
        self._size = max(1, min(_STRETCH_STEPS, _STRETCH_BYTES // (num_episodes * each)))
        self._before = 0  # steps of earlier stretches
        self._kept: list[Steps] = []
        self.words = np.empty((num_episodes, shapes.parts, 4), np.uint32)
        self.rewards: list[list[float]] = [[] for _ in range(num_episodes)]
        self.terminated = np.zeros(num_episodes, np.bool_)
        self.has_ended = [False] * num_episodes
        kept = shapes.observations
        self.final_observations = np.zeros((num_episodes, *kept.shape), kept.dtype)
        self._begin_stretch()

    def _begin_stretch(self) -> None:
        lanes, size = len(self.rewards), self._size
        kept, parts = self._shapes.observations, self._shapes.parts
        # One more: the observation after the last step. Zeros, as what is never played must not look wrong.
        self.observations = np.zeros((lanes, size + 1, *kept.shape), kept.dtype)
        has_masks = self._shapes.mask > 0
        self.steps = Steps(
            self.observations.reshape(lanes, size + 1, -1),
            np.empty((lanes, size, parts), self._shapes.actions),
            np.empty((lanes if self._log_probs else 0, size), np.float32),
            np.ones((lanes, size + 1, self._shapes.mask) if has_masks else (1, 1, 0), np.bool_),
        )
        self.at = 0

    @property
    def num_steps(self) -> int:
        """So far, in all lanes; another thread may ask."""
        return sum(map(len, self.rewards))

    @property
    def is_full(self) -> bool:
        """Whether the present stretch is."""
        return self.at == self._size

    def next_stretch(self) -> None:
        """Begin with another one where the present one ended."""
        last, mask = self.observations[:, self._size], self.steps.masks[:, -1]
        if self._keeps_steps:
            self._kept.append(self.steps)
            self._begin_stretch()
        self.observations[:, 0], self.steps.masks[:, 0] = last, mask
        self.at, self._before = 0, self._before + self._size

    def not_finite(self) -> tuple[int, int, NDArray[np.float32]] | None:
        """The first lane with an observation of the present stretch that is not, its step, and that one."""
        if self.observations.dtype != np.float32 or np.isfinite(self.observations).all():
            return None
        for lane, rewards in enumerate(self.rewards):
            # What the policy has seen: not what came after an episode's last step.
            seen = self.observations[lane, : max(0, min(len(rewards) - self._before, self._size))]
            wrong = ~np.isfinite(seen.reshape(len(seen), self._shapes.observations.size)).all(axis=1)
            if wrong.any():
                at = int(wrong.argmax())
                return lane, self._before + at, seen[at]
        return None

    def trajectories(self, policy: PolicySpec) -> Trajectories:
        """All of it, once every episode has ended; nothing is left here."""
        lengths = [len(rewards) for rewards in self.rewards]
        observations, actions, log_probs, masks = map(list, zip(*self._kept, self.steps, strict=True))
        self._kept.clear()
        del self.steps, self.observations
        none = [0] * len(lengths)
        kept = lengths if self._keeps_steps else none
        chosen = self._joined(actions, kept).astype(policy.action_dtype)
        return Trajectories(
            observations=self._joined(observations, kept),
            actions=chosen[:, 0] if policy.has_single_actions else chosen,
            rewards=np.array(list(itertools.chain.from_iterable(self.rewards)), np.float64),
            lengths=np.array(lengths, np.int32),
            terminated=self.terminated,
            log_probs=self._joined(log_probs, kept) if self._log_probs else None,
            final_observations=self.final_observations.reshape(len(lengths), -1),
            action_masks=self._joined(masks, kept) if self._shapes.mask > 0 else None,
        )

    def _joined(self, stretches: list[NDArray[Any]], lengths: list[int]) -> NDArray[Any]:
        """Episode by episode; stretches are let go one by one, so that all is there only once."""
        starts = [0, *itertools.accumulate(lengths)]
        whole = np.empty((starts[-1], *stretches[0].shape[2:]), stretches[0].dtype)
        before = 0
        while stretches:
            stretch = stretches.pop(0)
            for lane, (start, length) in enumerate(zip(starts, lengths, strict=False)):
                if (count := min(length - before, self._size)) > 0:
                    whole[start + before : start + before + count] = stretch[lane, :count]
            before += self._size
        return whole
