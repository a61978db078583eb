"""A simulator of your own, compiled: a rocket is to touch the ground gently, with as little fuel as it can.

    distpg train --env-id examples.compiled_environment:ROCKET

Write the step once, as a loop over lanes; distpg compiles it, plays many episodes side by side, and does so
with the same bits at any number of runners.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete

import distpg

DT, GRAVITY, THRUST, GENTLE = 0.1, 1.6, 4.0, 1.0


def reset(state, lane, uniforms):
    """Between 20 and 30 m above the ground, falling at up to 3 m/s."""
    state[0, lane] = 20 + 10 * uniforms[0]
    state[1, lane] = -3 * uniforms[1]


def step(state, actions, rewards, terminated):
    """Height and speed after a tenth of a second, with the engine on (1) or off (0)."""
    for lane in range(state.shape[1]):
        height, speed = state[0, lane], state[1, lane]
        speed += DT * (THRUST * actions[lane] - GRAVITY)
        height += DT * speed
        landed = height <= 0
        state[0, lane], state[1, lane] = height, speed
        terminated[lane] = landed
        touchdown = 10.0 if speed > -GENTLE else 2.0 * speed
        rewards[lane] = (touchdown if landed else 0.0) - 0.02 * actions[lane]


def observe(state, observations):
    """Both as numbers of about 1."""
    for lane in range(state.shape[1]):
        observations[0, lane] = np.float32(state[0, lane] / 20)
        observations[1, lane] = np.float32(state[1, lane] / 5)


ROCKET = distpg.CompiledEnvironment(
    reset,
    step,
    observe,
    state_size=2,
    observation_space=Box(-np.inf, np.inf, (2,), np.float32),
    action_space=Discrete(2),
    num_uniforms=2,
    max_episode_steps=400,
)
