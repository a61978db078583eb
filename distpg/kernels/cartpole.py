"""CartPole-v1 over lanes: Gymnasium's float64 dynamics in its own order of operations.

Source: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning control
problems" (1983), with the corrections of Florian (2007) that Gymnasium follows.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import math

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import cosine_of_remainder, sine_of_remainder
from distpg.kernels.intrinsics import fma

STATE_SIZE, NUM_UNIFORMS = 4, 4
GRAVITY, MASS_CART, MASS_POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
TOTAL_MASS, POLE_MASS_LENGTH = MASS_POLE + MASS_CART, MASS_POLE * HALF_LENGTH
PER_MASS = 1 / TOTAL_MASS
LARGEST_X, LARGEST_ANGLE = 2.4, 12 * 2 * math.pi / 360


@njit
def reset(state, lane, uniforms):
    """Begin an episode from four numbers in [0, 1)."""
    for k in range(4):
        state[k, lane] = -0.05 + 0.1 * uniforms[k]


@njit
def over_total_mass(x):
    """Divided by TOTAL_MASS, to the bit, at a third of a division's cost.

    Source: Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor" (1990): one
    correction suffices where the product is within a unit in the last place, as with this divisor.
    """
    q = x * PER_MASS
    return fma(fma(-q, TOTAL_MASS, x), PER_MASS, q)


@njit
def step(state, actions, rewards, terminated):
    """One step of each lane's position, velocity, angle and angular velocity, float64[4, lanes]."""
    for lane in range(state.shape[1]):
        x, x_dot, theta, theta_dot = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
        force = FORCE if actions[lane] == 1 else -FORCE
        # No pole that still stands leans by more than 45 degrees.
        sine, cosine = sine_of_remainder(theta), cosine_of_remainder(theta)
        temp = over_total_mass(force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sine)
        theta_acceleration = (GRAVITY * sine - cosine * temp) / (
            HALF_LENGTH * (4.0 / 3.0 - over_total_mass(MASS_POLE * (cosine * cosine)))
        )
        acceleration = temp - over_total_mass(POLE_MASS_LENGTH * theta_acceleration * cosine)
        x = x + TAU * x_dot
        theta = theta + TAU * theta_dot
        state[0, lane] = x
        state[1, lane] = x_dot + TAU * acceleration
        state[2, lane] = theta
        state[3, lane] = theta_dot + TAU * theta_acceleration
        rewards[lane] = 1.0
        terminated[lane] = (abs(x) > LARGEST_X) | (abs(theta) > LARGEST_ANGLE)


@njit
def observe(state, observations):
    """What the policy sees: the state as float32[4, lanes]."""
    for k in range(4):
        for lane in range(state.shape[1]):
            observations[k, lane] = np.float32(state[k, lane])
