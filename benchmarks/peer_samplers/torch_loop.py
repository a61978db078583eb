"""A loop for environments that come without one: policy in torch, trajectories and returns in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.peer_samplers.serving import (
    HIDDEN,
    Lengths,
    Sampler,
    cores,
    discounted_returns,
    load_into,
    steps_per_env,
)


class Batch(NamedTuple):
    """Steps [T, num_envs] of several environments; an episode may go on in the next batch."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ended: np.ndarray
    returns: np.ndarray


def sampler(
    policy: str,
    first_observations: np.ndarray,
    step: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    resets_take_a_step: bool,
) -> Sampler:
    """Of environments that reset themselves.

    Args:
        first_observations: float32[num_envs, 4]
        step: From actions, int32[num_envs], to observations, rewards and whether episodes ended.
        resets_take_a_step: As of ``Lengths``.
    """
    torch.set_num_threads(cores())
    num_envs = len(first_observations)
    num_steps = steps_per_env(num_envs)
    network = nn.Sequential(nn.Linear(4, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 2))
    load_into(list(network.parameters()), policy)
    lengths = Lengths(num_envs, resets_take_a_step)
    seen = first_observations

    def choose() -> np.ndarray:
        # Of two actions one number at random is enough: faster than any of torch's distributions.
        logits = network(torch.from_numpy(seen))
        chances = torch.sigmoid(logits[:, 1] - logits[:, 0])
        return (torch.rand(num_envs) < chances).int().numpy()

    @torch.inference_mode()
    def collect() -> Batch:
        nonlocal seen
        room = (num_steps, num_envs)
        observations, actions = np.empty((*room, 4), np.float32), np.empty(room, np.int32)
        rewards, ended = np.empty(room, np.float32), np.empty(room, bool)
        for t in range(num_steps):
            observations[t] = seen
            actions[t] = choose()
            seen, rewards[t], ended[t] = step(actions[t])
        return Batch(observations, actions, rewards, ended, discounted_returns(rewards, ended))

    return Sampler(collect, lambda batch: lengths(batch.ended))
