"""What the learner needs of a distribution over actions: log-probabilities, entropies, derivatives."""

import math
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from distpg.core.policies import PolicySpec
from distpg.learning.policy_gradient import entropies, preference_gradient

# What an illegal action's preference is: its probability is 0, and its logarithm finite.
_NEVER = -1e9
_LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)


class Distribution(Protocol):
    """Of the actions of N steps.

    Attributes:
        entropies: float32[N], in nats; of a ``tanh-normal`` one before its tanh.
    """

    entropies: Tensor

    def divergences(self, other: Self) -> Tensor:
        """KL(this || other) in each of N states, float32[N], in nats (Kullback and Leibler 1951)."""
        ...

    def log_probs(self, actions: NDArray[Any]) -> Tensor:
        """Log pi(a_t|s_t) of actions [N] or [N, parts], float32[N]."""
        ...

    def gradient(
        self, actions: NDArray[Any], advantages: Tensor, num_episodes: int, entropy_coef: float
    ) -> Tensor:
        """That of :func:`policy_gradient_loss` by the outputs, float32[outputs, N]."""
        ...


def distribution(spec: PolicySpec, outputs: Tensor, masks: NDArray[np.bool_] | None) -> Distribution:
    """The one that outputs float32[outputs, N] mean; masks bool[N, outputs] say which are legal."""
    if not spec.is_categorical:
        return _Normal(outputs, squashes=spec.distribution == "tanh-normal")
    if masks is not None:
        outputs = outputs.masked_fill(torch.from_numpy(~masks).T, _NEVER)
    return _Categorical(spec.action_sizes, outputs)


class _Categorical:
    """Independent categories of each part."""

    def __init__(self, sizes: tuple[int, ...], outputs: Tensor) -> None:
        self._sizes = sizes
        parts = [torch.log_softmax(part, dim=0) for part in torch.split(outputs, list(sizes))]
        self._log_pi = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.entropies = entropies(self._log_pi)

    def divergences(self, other: Self) -> Tensor:
        return (self._log_pi.exp() * (self._log_pi - other._log_pi)).sum(dim=0)

    def _rows(self, actions: NDArray[Any]) -> Tensor:
        """Of the outputs that the actions chose, int64[parts, N]."""
        starts = np.cumsum((0, *self._sizes[:-1]))
        return torch.from_numpy(actions.reshape(len(actions), -1).astype(np.int64).T + starts[:, None])

    def log_probs(self, actions: NDArray[Any]) -> Tensor:
        chosen = self._log_pi.gather(0, self._rows(actions))
        return chosen[0] if len(chosen) == 1 else chosen.sum(dim=0)

    def gradient(
        self, actions: NDArray[Any], advantages: Tensor, num_episodes: int, entropy_coef: float
    ) -> Tensor:
        rows = self._rows(actions)
        return preference_gradient(self._log_pi, rows, advantages, num_episodes, entropy_coef, self._sizes)


class _Normal:
    """Independent normal distributions; outputs are their means, then the logarithms of their deviations."""

    def __init__(self, outputs: Tensor, squashes: bool) -> None:
        self._means, self._logs = outputs.chunk(2)
        self._squashes = squashes
        self.entropies = (self._logs + (0.5 + _LOG_ROOT_2_PI)).sum(dim=0)

    def divergences(self, other: Self) -> Tensor:
        apart = (self._means - other._means) * torch.exp(-other._logs)
        ratios = self._logs - other._logs
        return (0.5 * (torch.exp(2 * ratios) + apart * apart - 1) - ratios).sum(dim=0)

    def _standard(self, actions: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """The actions, and how many deviations they are from their means: float32[parts, N] both."""
        numbers = torch.tensor(actions.T.astype(np.float32))
        return numbers, (numbers - self._means) * torch.exp(-self._logs)

    def log_probs(self, actions: NDArray[Any]) -> Tensor:
        numbers, z = self._standard(actions)
        found = -0.5 * z * z - self._logs - _LOG_ROOT_2_PI
        if self._squashes:
            # Minus log(1 - tanh(x)^2), the density's change of variable: Haarnoja et al., "Soft actor-critic"
            # (2018), appendix C.
            found = found - 2 * (math.log(2) - numbers - torch.nn.functional.softplus(-2 * numbers))
        return found.sum(dim=0)

    def gradient(
        self, actions: NDArray[Any], advantages: Tensor, num_episodes: int, entropy_coef: float
    ) -> Tensor:
        """By a mean it is z / deviation, by the log of a deviation z^2 - 1 (Williams 1992, section 6)."""
        _, z = self._standard(actions)
        weights = advantages / num_episodes
        by_means = -weights * z * torch.exp(-self._logs)
        by_logs = -weights * (z * z - 1) - entropy_coef / num_episodes
        return torch.cat([by_means, by_logs])
