"""What every sampler of the comparison shares: the policies that are played, and the clock.

Runs in the virtual environment of each peer, so it needs NumPy and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

HIDDEN = 128


@dataclass(frozen=True)
class Sampler:
    """How a peer collects steps in one setting.

    Attributes:
        collect: Plays some steps and returns its data; the only part that is timed.
        count: Of that data: how many steps of the environment it holds, and the lengths of the episodes
            that ended in it. A step that only resets, with no action of the policy, is none.
    """

    collect: Callable[[], Any]
    count: Callable[[Any], tuple[int, list[int]]]


def weights(policy: str) -> dict[str, np.ndarray]:
    """The weights of a policy 4 -> 128 (ReLU) -> 2 for CartPole, the same for every peer.

    ``untrained``: uniform in +-1/sqrt(inputs of the layer), as a new network of distpg or PyTorch.
    ``trained``: pushes toward where the pole falls and keeps it up for the 500 steps of the limit. Half of
    the hidden units see k.s, half -k.s, so that their difference is linear in the state s.
    """
    if policy == "untrained":
        random = np.random.default_rng(0)
        arrays = [
            random.uniform(-1, 1, shape) / np.sqrt(inputs)
            for shape, inputs in (((HIDDEN, 4), 4), (HIDDEN, 4), ((2, HIDDEN), HIDDEN), (2, HIDDEN))
        ]
    else:
        sign = np.where(np.arange(HIDDEN) % 2 == 0, 1.0, -1.0)
        gains = np.array([0.1, 0.3, 2.0, 1.5])
        arrays = [np.outer(sign, gains), np.zeros(HIDDEN), np.stack([-sign, sign]) * 10 / HIDDEN, np.zeros(2)]
    names = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
    return {name: array.astype(np.float32) for name, array in zip(names, arrays, strict=True)}


def steps_per_env(num_envs: int) -> int:
    """Steps of each environment in one call: many, so that the call costs little, but not a second's."""
    return min(512, max(16, 8192 // num_envs))


def load_into(parameters: list[Any], policy: str) -> None:
    """Copy the weights of a policy into torch parameters: weight, bias, weight, bias."""
    import torch

    with torch.no_grad():
        for parameter, array in zip(parameters, weights(policy).values(), strict=True):
            if tuple(parameter.shape) != array.shape:
                raise ValueError(f"a layer of shape {tuple(parameter.shape)} instead of {array.shape}")
            parameter.copy_(torch.from_numpy(array))


class Lengths:
    """Lengths of the episodes of several environments, from when they ended."""

    def __init__(self, num_envs: int) -> None:
        self._so_far = np.zeros(num_envs, np.int64)

    def __call__(self, ended: np.ndarray) -> tuple[int, list[int]]:
        """Of steps that follow those of the last call: bool[T, num_envs], whether each ended an episode."""
        lengths: list[int] = []
        for row in ended:
            self._so_far += 1
            lengths += self._so_far[row].tolist()
            self._so_far[row] = 0
        return ended.size, lengths


def measure(sampler: Sampler, seconds: float) -> dict[str, Any]:
    """Collect for a quarter of the time to warm up, then for the time itself; only collecting counts.

    The rate is over seconds of the core: one thread plays, so on a core that nobody else uses these are
    seconds of the clock, and on a busy one other work does not count. ``cpu_share`` is the first over the
    second: below 1, others had the core, or the peer waited for something.
    """
    _play(sampler, seconds / 4)
    steps, lengths, wall, cpu = _play(sampler, seconds)
    return {
        "env_steps_per_s": steps / cpu,
        "cpu_share": cpu / wall,
        "episodes": len(lengths),
        "episode_steps": sum(lengths),
    }


def _play(sampler: Sampler, seconds: float) -> tuple[int, list[int], float, float]:
    steps, lengths, wall, cpu = 0, [], 0.0, 0.0
    while wall < seconds:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        data = sampler.collect()
        wall += time.perf_counter() - wall_start
        cpu += time.process_time() - cpu_start
        more_steps, more_lengths = sampler.count(data)
        steps += more_steps
        lengths += more_lengths
    return steps, lengths, wall, cpu


def serve(make: Callable[[str, str], Sampler], settings: list[str], packages: list[str]) -> None:
    """Answer each line of standard input, a request to measure, by a line of standard output, both JSON.

    The first line out says which settings and versions there are.

    Args:
        make: Makes the sampler of a policy and a setting.
    """
    # Libraries print what they like: their output must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
    print(json.dumps({"settings": settings, "versions": versions}), file=answers, flush=True)
    samplers: dict[tuple[str, str], Sampler] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["policy"], request["setting"])
        if key not in samplers:
            samplers[key] = make(*key)
        answer = measure(samplers[key], request["seconds"])
        print(json.dumps(answer, allow_nan=False), file=answers, flush=True)
