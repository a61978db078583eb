"""torch's optimisers; their state and what they move as named arrays that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Optimiser = Literal["adam", "sgd"]


def make_optimiser(
    kind: Optimiser, parameters: Mapping[str, Tensor], lr: float, adam_eps: float = 1e-8
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2014, algorithm 1; betas 0.9 and 0.999) or plain stochastic gradient descent."""
    # foreach=False: one array after the other, whose arithmetic is the textbook's.
    if kind == "adam":
        return torch.optim.Adam(parameters.values(), lr=lr, eps=adam_eps, foreach=False)
    return torch.optim.SGD(parameters.values(), lr=lr, foreach=False)


def optimiser_state(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, NDArray[np.float32]]:
    """A copy of every array of the state, as ``<weight>.<array>``; empty before the first step."""
    return {
        f"{name}.{key}": value.numpy().copy()
        for name, parameter in parameters.items()
        for key, value in optimiser.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    state: Mapping[str, NDArray[np.float32]],
) -> None:
    """Give an optimiser the state that :func:`optimiser_state` returned."""
    for name, parameter in parameters.items():
        prefix = f"{name}."
        arrays = {
            key.removeprefix(prefix): torch.tensor(array)
            for key, array in state.items()
            if key.startswith(prefix)
        }
        if arrays:
            optimiser.state[parameter] = arrays


def restore_weights(parameters: Mapping[str, Tensor], weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Overwrite parameters with the arrays of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(weights[name]))
