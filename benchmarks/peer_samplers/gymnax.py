"""gymnax: policy, environments, resets and returns in one call that JAX compiles for the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peer_samplers.serving import GAMMA, Lengths, Sampler, serve, steps_per_env, weights

ENV, PARAMETERS = gymnax.make("CartPole-v1")


class Batch(NamedTuple):
    """Steps [T, num_envs] of several environments; an episode may go on in the next batch."""

    observations: jax.Array
    actions: jax.Array
    rewards: jax.Array
    ended: jax.Array
    returns: jax.Array


def choose(layers: list[jax.Array], observations: jax.Array, uniform: jax.Array) -> jax.Array:
    """Actions of float32[num_envs, 4], hidden unit by hidden unit: faster than as products of matrices."""
    first, first_bias, last, last_bias = layers
    columns = observations.T

    def add(difference: jax.Array, unit: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        inputs, bias, output = unit
        total = sum(inputs[column] * columns[column] for column in range(4)) + bias
        return difference + output * jax.nn.relu(total), None

    start = jnp.full_like(uniform, last_bias[1] - last_bias[0])
    difference, _ = jax.lax.scan(add, start, (first, first_bias, last[1] - last[0]), unroll=16)
    return (uniform < jax.nn.sigmoid(difference)).astype(jnp.int32)


def step_each(key: jax.Array, state: Any, actions: jax.Array) -> tuple[Any, ...]:
    """gymnax's own step, which resets by itself, with a key for each environment."""
    keys = jax.random.split(key, len(actions))
    step = jax.vmap(ENV.step, (0, 0, 0, None))
    observations, state, rewards, terminated, truncated, _ = step(keys, state, actions, PARAMETERS)
    return observations, state, rewards, terminated | truncated


def step_together(key: jax.Array, state: Any, actions: jax.Array) -> tuple[Any, ...]:
    """The same with the random numbers of all resets drawn together, which is faster."""
    step = jax.vmap(ENV.step_env, (None, 0, 0, None))  # nothing in it is random
    _, state, rewards, terminated, _ = step(key, state, actions, PARAMETERS)
    ended = terminated | jax.vmap(ENV.is_truncated, (0, None))(state, PARAMETERS)
    names = ("x", "x_dot", "theta", "theta_dot")
    starts = jax.random.uniform(key, (4, len(actions)), minval=-0.05, maxval=0.05)
    new = dict(zip(names, starts, strict=True)) | {"time": jnp.zeros_like(state.time)}
    state = jax.tree.map(lambda start, now: jnp.where(ended, start, now), type(state)(**new), state)
    return jax.vmap(ENV.get_obs)(state), state, rewards, ended


def rollout(step: Callable[..., tuple[Any, ...]], num_steps: int) -> Callable[..., tuple[Any, Batch]]:
    def tick(layers: list[jax.Array], carry: Any) -> tuple[Any, Any]:
        observations, state, key = carry
        key, for_actions, for_resets = jax.random.split(key, 3)
        actions = choose(layers, observations, jax.random.uniform(for_actions, (len(observations),)))
        following, state, rewards, ended = step(for_resets, state, actions)
        return (following, state, key), (observations, actions, rewards, ended)

    def discount(following: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rewards, ended = step
        returns = rewards + GAMMA * jnp.where(ended, 0, following)
        return returns, returns

    def collect(layers: list[jax.Array], carry: Any) -> tuple[Any, Batch]:
        carry, steps = jax.lax.scan(lambda carry, _: tick(layers, carry), carry, length=num_steps)
        _, _, rewards, ended = steps
        _, returns = jax.lax.scan(discount, jnp.zeros_like(rewards[0]), (rewards, ended), reverse=True)
        return carry, Batch(*steps, returns)

    return collect


@functools.cache
def collector(setting: str) -> Callable[..., tuple[Any, Batch]]:
    """Compiled once for all policies."""
    step = step_together if setting.endswith("together") else step_each
    return jax.jit(rollout(step, steps_per_env(int(setting.split()[0]))))


def make(policy: str, setting: str) -> Sampler:
    num_envs = int(setting.split()[0])
    layers = [jnp.asarray(array) for array in weights(policy).values()]
    key, for_reset = jax.random.split(jax.random.key(0))
    reset = jax.vmap(ENV.reset, (0, None))
    observations, state = reset(jax.random.split(for_reset, num_envs), PARAMETERS)
    carry = (observations, jax.tree.map(jnp.asarray, state), key)
    rolled_out = collector(setting)
    # The first call compiles for a state that is new, the second for one that came out of the first.
    for _ in range(2):
        carry, _ = rolled_out(layers, carry)
    lengths = Lengths(num_envs)

    def collect() -> Batch:
        nonlocal carry
        carry, batch = jax.block_until_ready(rolled_out(layers, carry))
        return batch

    return Sampler(collect, lambda batch: lengths(np.asarray(batch.ended)))


if __name__ == "__main__":
    each = [f"{number} envs" for number in (1024, 4096)]
    together = [f"{number} envs together" for number in (256, 1024, 4096, 16384)]
    serve(make, [*each, *together], ["gymnax", "jax", "jaxlib", "numpy"], has_threads=True)
