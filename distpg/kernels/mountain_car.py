"""MountainCar-v0 over lanes, as Gymnasium has it.

Source: Moore, "Efficient memory-based learning for robot control" (1990), chapter 4.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import cos

STATE_SIZE, NUM_UNIFORMS = 2, 1
LOWEST, HIGHEST, FASTEST, GOAL, FORCE, GRAVITY = -1.2, 0.6, 0.07, 0.5, 0.001, 0.0025


@njit
def reset(state, lane, uniforms):
    """Begin an episode at rest, between -0.6 and -0.4."""
    state[0, lane], state[1, lane] = -0.6 + (-0.4 - -0.6) * uniforms[0], 0.0


@njit
def step(state, actions, rewards, terminated):
    """One step of each lane's position and velocity, float64[2, lanes]."""
    for lane in range(state.shape[1]):
        position, velocity = state[0, lane], state[1, lane]
        velocity += (actions[lane] - 1) * FORCE + cos(3 * position) * -GRAVITY
        velocity = min(max(velocity, -FASTEST), FASTEST)
        position = min(max(position + velocity, LOWEST), HIGHEST)
        velocity = 0.0 if (position == LOWEST) & (velocity < 0.0) else velocity
        state[0, lane], state[1, lane] = position, velocity
        rewards[lane] = -1.0
        terminated[lane] = (position >= GOAL) & (velocity >= 0.0)


@njit
def observe(state, observations):
    """What the policy sees: the state as float32[2, lanes]."""
    for k in range(2):
        for lane in range(state.shape[1]):
            observations[k, lane] = np.float32(state[k, lane])
