"""The floor of arithmetic: what the policy alone would take at the rate of a large matrix product."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.peer_samplers.serving import HIDDEN, Sampler, cores, serve

SIZE = 512
# A multiplication and an addition of each weight.
FLOP_PER_STEP = 2 * (4 * HIDDEN + HIDDEN * 2)


def make(policy: str, setting: str) -> Sampler:
    del policy  # as many operations with any
    torch.set_num_threads(cores())
    left, right = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), np.float32)
    product = np.empty_like(left)
    tensors = [torch.from_numpy(array) for array in (left, right, product)]

    def collect() -> None:
        if setting == "NumPy":
            np.matmul(left, right, out=product)
        else:
            torch.mm(tensors[0], tensors[1], out=tensors[2])

    return Sampler(collect, lambda _: (2 * SIZE**3 // FLOP_PER_STEP, []), is_a_limit=True)


if __name__ == "__main__":
    serve(make, ["NumPy", "torch"], ["numpy", "torch"], has_threads=True)
