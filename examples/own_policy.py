"""A policy of your own: a torch module made from the spaces.

distpg train --env-id Acrobot-v1 --policy examples.own_policy:residual
"""

from typing import Any

import gymnasium
import torch


class Residual(torch.nn.Module):
    """Two layers, the second of which adds to the first."""

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.into, self.more = torch.nn.Linear(inputs, units), torch.nn.Linear(units, units)
        self.out = torch.nn.Linear(units, outputs)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """From float32[B, observation size] to action preferences float32[B, actions]."""
        h = torch.tanh(self.into(observations))
        return self.out(h + torch.tanh(self.more(h)))


def residual(observation_space: gymnasium.spaces.Box, action_space: gymnasium.Space[Any]) -> torch.nn.Module:
    """What distpg calls, with torch seeded by the run's own seed."""
    assert isinstance(action_space, gymnasium.spaces.Discrete)
    return Residual(observation_space.shape[0], 64, int(action_space.n))
