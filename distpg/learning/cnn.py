"""A convolutional policy for images, as large as they need."""

from typing import Any

import gymnasium
import numpy as np
import torch

from distpg.core.policies import is_image_shape

# The smaller side from which the filters of 2015 fit.
_LARGE = 36


class _Images(torch.nn.Module):
    """Channels first, whether they come first or last: images have fewer of them than rows or columns."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._channels_last = len(shape) == 3 and shape[2] < shape[0]
        self._is_flat = len(shape) == 2

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self._is_flat:
            return rows[:, None]
        return rows.permute(0, 3, 1, 2) if self._channels_last else rows


def image_policy(
    observation_space: gymnasium.spaces.Box, action_space: gymnasium.Space[Any]
) -> torch.nn.Module:
    """A policy for images, channels first or last.

    Of 36 pixels or more the network of Mnih et al., "Human-level control through deep reinforcement learning"
    (2015); of fewer that of Young and Tian, "MinAtar" (2019): 16 filters of 3 x 3 and 128 units.

    Raises:
        ValueError: Observations are no images, of two or three dimensions.
    """
    shape = observation_space.shape
    if not is_image_shape(shape):
        raise ValueError(f"observations of shape {shape} are no images")
    nn, first = torch.nn, _Images(shape)
    channels = first(torch.zeros(1, *shape)).shape[1]
    if min(sorted(shape)[-2:]) >= _LARGE:
        filters = [
            *(nn.Conv2d(channels, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten()),
        ]
        units = 512
    else:
        filters, units = [nn.Conv2d(channels, 16, 3, 1), nn.ReLU(), nn.Flatten()], 128
    size = nn.Sequential(first, *filters)(torch.zeros(1, *shape)).shape[1]
    num_outputs = _num_outputs(action_space)
    return nn.Sequential(first, *filters, nn.Linear(size, units), nn.ReLU(), nn.Linear(units, num_outputs))


def _num_outputs(space: gymnasium.Space[Any]) -> int:
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape or ()))
