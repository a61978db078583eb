import numpy as np
import pytest
import torch

from distpg.core.policies import initial_weights, preferences
from distpg.learning.network import Network, Sums, rows_per_chunk, views

# Linear, widening and narrowing layers; the last one is so wide that it takes few rows at a time.
SIZES = [(3, 2), (4, 128, 2), (5, 7, 16, 1), (40, 8, 8, 3), (2, 12_000, 2)]
RNG = np.random.default_rng(6)


def derivative_of_squares(outputs: torch.Tensor, rows: slice) -> tuple[torch.Tensor, Sums]:
    """Of the loss sum over rows and outputs of (number of output + 1) * output^2 / 2."""
    factors = torch.arange(1.0, len(outputs) + 1)[:, None]
    assert outputs.shape[1] == rows.stop - rows.start
    return factors * outputs, (float((factors * outputs.square()).sum()) / 2, float(outputs.shape[1]))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("num_chunks", [0.001, 1, 2.5])
def test_gradient_against_autograd(sizes: tuple[int, ...], num_chunks: float) -> None:
    weights = initial_weights(sizes, seed=1)
    inputs = RNG.normal(size=(int(num_chunks * rows_per_chunk(sizes)) + 1, sizes[0])).astype(np.float32)
    network = Network(weights)
    network.differentiate(len(inputs), inputs.__getitem__, derivative_of_squares)  # leaves no trace
    flat, (loss, rows) = network.differentiate(len(inputs), inputs.__getitem__, derivative_of_squares)
    parameters = {name: torch.tensor(a, dtype=torch.float64).requires_grad_() for name, a in weights.items()}
    outputs = preferences(parameters, torch.tensor(inputs, dtype=torch.float64))
    slow = (outputs.square() * torch.arange(1.0, sizes[-1] + 1)).sum() / 2
    assert rows == len(inputs)
    assert loss == pytest.approx(float(slow.detach()), rel=1e-5)
    for (name, gradient), expected in zip(
        views(flat, network.shapes).items(),
        torch.autograd.grad(slow, list(parameters.values())),
        strict=True,
    ):
        size = float(expected.abs().max())
        np.testing.assert_allclose(gradient.numpy(), expected.numpy(), atol=2e-6 * size, err_msg=name)


def test_outputs_are_the_preferences_that_runners_compute() -> None:
    weights = initial_weights((4, 16, 3), seed=2)
    inputs = RNG.normal(size=(3000, 4)).astype(np.float32)
    outputs = np.zeros((3000, 3), np.float32)

    def keep(h: torch.Tensor, rows: slice) -> tuple[None, Sums]:
        outputs[rows] = h.numpy().T
        return None, ()

    gradient, sums = Network(weights).differentiate(3000, inputs.__getitem__, keep)
    np.testing.assert_allclose(outputs, preferences(weights, inputs), atol=1e-6)
    assert not gradient.any()
    assert sums == ()


@pytest.mark.parametrize("num_rows", [1, 2048, 15_000])
def test_threads_change_no_bit(num_rows: int) -> None:
    weights = initial_weights((4, 64, 64, 2), seed=1)
    inputs = RNG.normal(size=(num_rows, 4)).astype(np.float32)
    found = set()
    for num_threads in (1, 2, 3, 16):
        network = Network(weights, num_threads)
        for _ in range(3):
            flat, sums = network.differentiate(num_rows, inputs.__getitem__, derivative_of_squares)
            found.add((flat.numpy().tobytes(), sums))
    assert len(found) == 1


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_in_a_chunk_is_the_callers(num_threads: int) -> None:
    network = Network(initial_weights((4, 2), seed=1), num_threads)

    def fail(h: torch.Tensor, rows: slice) -> tuple[None, Sums]:
        raise ValueError(f"rows from {rows.start}")

    with pytest.raises(ValueError, match="rows from 0"):
        network.differentiate(5000, np.zeros((5000, 4), np.float32).__getitem__, fail)


def test_rows_at_a_time_by_hand() -> None:
    assert [rows_per_chunk(sizes) for sizes in ((4, 128, 2), (1, 1024), (4096, 2), (2**20, 2))] == [
        *(2048, 1024, 256, 32)
    ]


def test_views_lie_one_after_the_other() -> None:
    flat = torch.arange(7.0)
    parts = views(flat, {"a": (2, 2), "b": (3,)})
    assert {name: part.tolist() for name, part in parts.items()} == {"a": [[0, 1], [2, 3]], "b": [4, 5, 6]}
    parts["b"][0] = 9
    assert flat[4] == 9
