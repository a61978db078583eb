"""Rules that turn a gradient into a step, and their state as named arrays."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from distpg.learning.network import Differentiable, views

_BETA_1, _BETA_2 = 0.9, 0.999


class Optimiser:
    """Adam or plain stochastic gradient descent, over all weights of a network as one array.

    Adam: Kingma and Ba, "Adam: a method for stochastic optimization" (2014), algorithm 1, with the betas
    proposed there.
    """

    def __init__(self, kind: Literal["adam", "sgd"], network: Differentiable, adam_eps: float = 1e-8) -> None:
        self._kind = kind
        self._network = network
        self._eps = adam_eps
        self._steps = 0
        self._mean = torch.zeros_like(network.flat)
        self._mean_square = torch.zeros_like(network.flat)
        self._divisor = torch.empty_like(network.flat)
        self._arrays = {
            f"{name}.{key}": array
            for key, flat in (("exp_avg", self._mean), ("exp_avg_sq", self._mean_square))
            for name, array in views(flat, network.shapes).items()
        }

    def step(self, gradient: torch.Tensor, lr: float) -> None:
        """Move the network's weights against a gradient, float32, flat as they."""
        if self._kind == "sgd":
            self._network.flat.add_(gradient, alpha=-lr)
            return
        self._steps += 1
        self._mean.mul_(_BETA_1).add_(gradient, alpha=1 - _BETA_1)
        self._mean_square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        # The corrections of the paper's m-hat and v-hat are numbers, and cheaper applied as such.
        torch.sqrt(self._mean_square, out=self._divisor)
        self._divisor.div_(math.sqrt(1 - _BETA_2**self._steps)).add_(self._eps)
        self._network.flat.addcdiv_(self._mean, self._divisor, value=-lr / (1 - _BETA_1**self._steps))

    @property
    def is_finite(self) -> bool:
        """Whether what it keeps of earlier gradients is."""
        return bool(np.isfinite(self._mean_square.numpy()).all())

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """A copy of every array, as ``<weight>.<array>``; empty before Adam's first step, and without it."""
        if self._steps == 0:
            return {}
        steps = {f"{name}.step": np.array(self._steps, np.float32) for name in self._network.shapes}
        return steps | {name: array.numpy().copy() for name, array in self._arrays.items()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Go on from what :attr:`state` was."""
        self._steps = int(next((array for name, array in state.items() if name.endswith(".step")), 0))
        for name, array in self._arrays.items():
            array.copy_(torch.tensor(state[name]) if state else torch.zeros((), dtype=torch.float32))
