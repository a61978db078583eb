"""What every sampler of the comparison shares: the policies that are played, returns, and the clock.

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
GAMMA = 0.99


@dataclass(frozen=True)
class Sampler:
    """How a peer collects steps in one setting.

    Attributes:
        collect: Plays some steps and returns its data; the only part that is timed.
        count: Of that data: how many steps of the environment it holds, and the lengths of the episodes
            that ended in it. A step that only resets, with no action of the policy, is none.
        is_a_limit: The fastest call counts instead of all: what others are held against, not one of them.
    """

    collect: Callable[[], Any]
    count: Callable[[Any], tuple[int, list[int]]]
    is_a_limit: bool = False


def cores() -> int:
    """How many this process may use: one, or all of the machine for a peer's own threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


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


def discounted_returns(rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Of each step, float32[T, num_envs]; where the last row does not end an episode, of what there is."""
    returns = np.empty_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        following *= ~ended[t]
        following *= np.float32(GAMMA)
        following += rewards[t]
        returns[t] = following
    return returns


class Lengths:
    """Lengths of the episodes of several environments, from when they ended.

    Args:
        resets_take_a_step: After an episode's last step comes one that only resets, and is none.
    """

    def __init__(self, num_envs: int, resets_take_a_step: bool = False) -> None:
        self._so_far = np.zeros(num_envs, np.int64)
        self._resets = np.zeros(num_envs, bool)
        self._resets_take_a_step = resets_take_a_step

    def __call__(self, ended: np.ndarray) -> tuple[int, list[int]]:
        """Of steps that follow those of the last call: bool[T, num_envs], whether each ended an episode."""
        steps, lengths = 0, []
        for row in ended:
            self._so_far += ~self._resets
            steps += row.size - int(self._resets.sum())
            lengths += self._so_far[row].tolist()
            self._so_far[row] = 0
            if self._resets_take_a_step:
                self._resets = row
        return steps, lengths


def measure(sampler: Sampler, seconds: float) -> dict[str, Any]:
    """Collect for some seconds; only collecting counts.

    On one core the rate to look at is that over seconds of the core: on one that nobody else uses these are
    seconds of the clock, and on a busy one other work does not count. ``cpu_share`` is the first over the
    second: below 1, others had the core, or the peer waited for something.
    """
    calls: list[tuple[int, float, float]] = []
    lengths: list[int] = []
    wall = cpu = 0.0
    while wall < seconds:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        data = sampler.collect()
        wall_of_call, cpu_of_call = time.perf_counter() - wall_start, time.process_time() - cpu_start
        wall, cpu = wall + wall_of_call, cpu + cpu_of_call
        steps, more_lengths = sampler.count(data)
        calls.append((steps, wall_of_call, cpu_of_call))
        lengths += more_lengths
    steps = sum(call[0] for call in calls)
    counted = calls if sampler.is_a_limit else [(steps, wall, cpu)]
    return {
        "steps_per_wall_s": max(call[0] / call[1] for call in counted),
        "steps_per_cpu_s": max(call[0] / call[2] for call in counted),
        "cpu_share": cpu / wall,
        "episodes": len(lengths),
        "episode_steps": sum(lengths),
    }


def serve(
    make: Callable[[str, str], Sampler],
    settings: list[str] | dict[str, list[str]],
    packages: list[str],
    has_threads: bool = False,
) -> None:
    """Answer each line of standard input, a request to measure, by a line of standard output, both JSON.

    The first line out says which settings and versions there are. A sampler is made, and whatever it
    compiles is compiled, when it is first asked for: the first answer about it is for warming up.

    Args:
        make: Makes the sampler of a policy and a setting.
        settings: Of which the best is taken; of several samplers, those of each by its name.
        has_threads: The peer can use several cores by itself.
    """
    # Libraries print what they like: their output must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
    hello = {
        "settings": settings if isinstance(settings, dict) else {"": settings},
        "versions": versions,
        "has_threads": has_threads,
    }
    print(json.dumps(hello), file=answers, flush=True)
    samplers: dict[tuple[str, str], Sampler] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["policy"], request["setting"])
        if key not in samplers:
            samplers[key] = make(*key)
        answer = measure(samplers[key], request["seconds"])
        print(json.dumps(answer, allow_nan=False), file=answers, flush=True)
