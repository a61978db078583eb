"""A multilayer perceptron and its exact gradient, a fixed number of rows at a time in memory made once."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distpg.core.arithmetic import float_sum
from distpg.core.policies import Weights, not_learnt, num_layers

Shapes = dict[str, tuple[int, ...]]
Sums = tuple[float, ...]
Rows = slice | NDArray[np.int64]
Inputs = Callable[[Rows], NDArray[np.float32]]
"""From some of N rows to their inputs, float32[B, inputs]."""
Loss = Callable[[Tensor, slice], tuple[Tensor | None, Sums]]
"""From outputs float32[outputs, B] of some rows: the loss's derivative by them, of the same shape, or None
where it is not wanted; and numbers that are added up over all rows."""


class Differentiable(ABC):
    """Weights that are views of ``flat``, float32, in the order of ``shapes``, and a function of rows.

    Those that normalise observations are not learnt, and left out.
    """

    def __init__(self, weights: Weights) -> None:
        learnt = {name: array for name, array in weights.items() if not not_learnt(name)}
        self.shapes: Shapes = {name: array.shape for name, array in learnt.items()}
        self.flat = torch.cat([torch.tensor(array).flatten() for array in learnt.values()])
        self._weights = views(self.flat, self.shapes)

    @property
    def weights(self) -> Weights:
        """A copy of the weights, float32."""
        return {name: tensor.numpy().copy() for name, tensor in self._weights.items()}

    @property
    def is_finite(self) -> bool:
        """Whether all weights are."""
        return bool(np.isfinite(self.flat.numpy()).all())

    def restore(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Overwrite the weights with arrays of the same names."""
        for name, tensor in self._weights.items():
            tensor.copy_(torch.tensor(weights[name]))

    @abstractmethod
    def differentiate(self, num_rows: int, inputs: Inputs, loss: Loss) -> tuple[Tensor, Sums]:
        """As :meth:`Network.differentiate`."""


def rows_per_chunk(layer_sizes: Iterable[int]) -> int:
    """How many rows go through the layers at once.

    From the shape alone, as it decides the order of sums. 2,048 rows hide the cost of the calls (512 take 1.6
    times as long with one layer of 128, 4,096 a tenth less); wide layers get fewer, to bound the memory.
    """
    return max(32, min(2048, 2**20 // max(layer_sizes)))


def views(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Arrays of these shapes that lie one after the other in a flat one, as views of it."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class Network(Differentiable):
    """Linear layers with ReLU between them: the function that ``policies.preferences`` is for runners.

    Each chunk of rows is computed on one thread and the chunks' gradients are added in their order, in
    float64. So neither the number of threads nor where the inputs lie in memory changes a bit. All weights
    are views of ``flat``, float32, in the order of ``shapes``. An array after the layers' is more outputs,
    the same for all inputs; those that normalise observations are not learnt, and left out.
    """

    def __init__(self, weights: Weights, num_threads: int = 1) -> None:
        super().__init__(weights)
        self._total = torch.empty_like(self.flat, dtype=torch.float64)
        self._workspaces = [_Workspace(self._weights) for _ in range(num_threads)]
        self._pool = ThreadPoolExecutor(num_threads, "learner") if num_threads > 1 else None

    @property
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """The last layer's weights float32[outputs, inputs] and biases float32[outputs] themselves."""
        last = num_layers(self._weights) - 1
        return self._weights[f"layers.{last}.weight"], self._weights[f"layers.{last}.bias"]

    def differentiate(self, num_rows: int, inputs: Inputs, loss: Loss) -> tuple[Tensor, Sums]:
        """The gradient of a loss that is a sum over rows, and the sums of its other numbers.

        Args:
            num_rows: N, at least 1.
            loss: Called once for each chunk; on several threads at once where there are several.

        Returns:
            float32, flat as :attr:`flat`, zero where the loss wants no derivative; and the sums.
        """

        def work(workspace: _Workspace, rows: slice) -> tuple[Tensor | None, Sums]:
            by_outputs, numbers = loss(workspace.forward(inputs(rows)), rows)
            return None if by_outputs is None else workspace.backward(by_outputs), numbers

        self._total.zero_()
        sums: list[Sums] = []
        size = self._workspaces[0].num_rows
        chunks = iter([slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)])
        while wave := list(itertools.islice(chunks, len(self._workspaces))):
            # Results come in the order of the chunks, and a workspace's gradient is added before its next
            # chunk overwrites it.
            run = map if self._pool is None or len(wave) == 1 else self._pool.map
            for gradient, numbers in run(work, self._workspaces, wave):
                sums.append(numbers)
                if gradient is not None:
                    self._total.add_(gradient)
        return self._total.float(), tuple(map(float_sum, zip(*sums, strict=True)))


class _Workspace:
    """Memory of one thread to take a chunk of rows forward and its gradient back."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        arrays = list(weights.values())
        end = 2 * num_layers(weights)
        self._weights, self._biases, self._free = arrays[:end:2], arrays[1:end:2], arrays[end:]
        sizes = [self._weights[0].shape[1], *map(len, self._weights)]
        self.num_rows = rows_per_chunk(sizes)
        # Inputs and outputs of the layers, then the errors of the hidden ones.
        self._sizes = (*sizes, *sizes[1:-1])
        # Unused parts of it cost nothing: the system gives memory when it is first written.
        self._memory = [torch.empty(self.num_rows * size, dtype=torch.float32) for size in self._sizes]
        self._gradient = torch.empty(sum(map(torch.numel, arrays)), dtype=torch.float32)
        gradients = list(views(self._gradient, {name: a.shape for name, a in weights.items()}).values())
        self._by_weights, self._by_biases = gradients[:end:2], gradients[1:end:2]
        self._by_free = gradients[end:]
        self._transposed = [torch.empty(weight.T.shape, dtype=torch.float32) for weight in self._weights]
        self._rows = 0

    def _cut(self, rows: int) -> None:
        """Arrays of so many rows, at the beginning of the memory."""
        self._rows = rows
        parts = zip(self._memory, self._sizes, strict=True)
        arrays = [memory[: rows * size].view(rows, size) for memory, size in parts]
        depth = len(self._weights)
        self._activations, self._errors = arrays[:depth], arrays[depth + 1 :]
        self._inputs: NDArray[np.float32] = arrays[0].numpy()
        self._outputs = arrays[depth].view(-1, rows)

    def forward(self, inputs: NDArray[np.float32]) -> Tensor:
        """Outputs float32[outputs, B] for inputs float32[B, inputs]; overwritten by the next call.

        A row an output, since torch reduces along short rows far slower than across long ones.
        """
        if len(inputs) != self._rows:
            self._cut(len(inputs))
        # The copy also gives kernels that differ by memory alignment the same one always.
        self._inputs[:] = inputs
        for layer, below in enumerate(self._activations[:-1]):
            above = self._activations[layer + 1]
            torch.addmm(self._biases[layer], below, self._weights[layer].T, out=above).relu_()
        torch.addmm(self._biases[-1], self._activations[-1], self._weights[-1].T, out=self._outputs.T)
        if not self._free:
            return self._outputs
        return torch.cat([self._outputs, self._free[0][:, None].expand(-1, self._rows)])

    def backward(self, by_outputs: Tensor) -> Tensor:
        """The gradient by all weights, flat, given the one by the outputs of the last :meth:`forward`.

        Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986).
        """
        if self._free:
            by_outputs, by_free = torch.split(by_outputs, [len(self._outputs), len(self._free[0])])
            torch.sum(by_free, dim=1, out=self._by_free[0])
        error = by_outputs.T
        for layer in reversed(range(len(self._weights))):
            below = self._activations[layer]
            by_weight = self._by_weights[layer]
            # MKL is several times slower where the long side of a product comes first.
            if by_weight.shape[0] > by_weight.shape[1]:
                by_weight.copy_(torch.mm(below.T, error, out=self._transposed[layer]).T)
            else:
                torch.mm(error.T, below, out=by_weight)
            torch.sum(error, dim=0, out=self._by_biases[layer])
            if layer > 0:
                error = torch.mm(error, self._weights[layer], out=self._errors[layer - 1])
                # The slope of ReLU, 0 or 1; what was below is of no more use.
                error.mul_(below.sign_())
        return self._gradient
