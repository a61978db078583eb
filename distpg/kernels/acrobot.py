"""Acrobot-v1 over lanes: Gymnasium's equations of the book, a Runge-Kutta step of the fourth order.

Source: Sutton, "Generalization in reinforcement learning: successful examples using sparse coarse coding"
(1996), section 5; masses and lengths are 1, centres of mass in the middle.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import math

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import cos, sin_cos

STATE_SIZE, NUM_UNIFORMS = 4, 4
DT, GRAVITY, FASTEST_1, FASTEST_2 = 0.2, 9.8, 4 * math.pi, 9 * math.pi


@njit
def reset(state, lane, uniforms):
    """Begin an episode near rest; Gymnasium rounds its first state to float32."""
    for k in range(4):
        state[k, lane] = np.float64(np.float32(-0.1 + 0.2 * uniforms[k]))


@njit
def accelerations(theta1, theta2, dtheta1, dtheta2, torque):
    """Of both joints."""
    sine, cosine = sin_cos(theta2)
    d1 = 0.5**2 + (1.0 + 0.5**2 + cosine) + 1.0 + 1.0
    d2 = (0.5**2 + 0.5 * cosine) + 1.0
    phi2 = 0.5 * GRAVITY * cos(theta1 + theta2 - math.pi / 2)
    phi1 = (
        -0.5 * dtheta2**2 * sine - dtheta2 * dtheta1 * sine + 1.5 * GRAVITY * cos(theta1 - math.pi / 2) + phi2
    )
    second = (torque + d2 / d1 * phi1 - 0.5 * dtheta1**2 * sine - phi2) / (0.5**2 + 1.0 - d2**2 / d1)
    return -(d2 * second + phi1) / d1, second


@njit
def wrapped(x):
    """An angle from -pi to pi; no step turns a joint by more than two rounds."""
    for _ in range(2):
        x = x - 2 * math.pi if x > math.pi else x
        x = x + 2 * math.pi if x < -math.pi else x
    return x


@njit
def step(state, actions, rewards, terminated):
    """One step of each lane's two angles and their velocities, float64[4, lanes]."""
    for lane in range(state.shape[1]):
        a, b, c, d = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
        torque, half = np.float64(actions[lane] - 1), DT / 2
        c1, d1 = accelerations(a, b, c, d, torque)
        c2, d2 = accelerations(a + half * c, b + half * d, c + half * c1, d + half * d1, torque)
        a2, b2 = c + half * c1, d + half * d1
        c3, d3 = accelerations(a + half * a2, b + half * b2, c + half * c2, d + half * d2, torque)
        a3, b3 = c + half * c2, d + half * d2
        c4, d4 = accelerations(a + DT * a3, b + DT * b3, c + DT * c3, d + DT * d3, torque)
        a4, b4 = c + DT * c3, d + DT * d3
        a = wrapped(a + DT / 6 * (c + 2 * a2 + 2 * a3 + a4))
        b = wrapped(b + DT / 6 * (d + 2 * b2 + 2 * b3 + b4))
        c = c + DT / 6 * (c1 + 2 * c2 + 2 * c3 + c4)
        d = d + DT / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        state[0, lane], state[1, lane] = a, b
        state[2, lane] = min(max(c, -FASTEST_1), FASTEST_1)
        state[3, lane] = min(max(d, -FASTEST_2), FASTEST_2)
        terminated[lane] = -cos(a) - cos(b + a) > 1.0
        rewards[lane] = 0.0 if terminated[lane] else -1.0


@njit
def observe(state, observations):
    """Cosine and sine of both angles, then their velocities, float32[6, lanes]."""
    for lane in range(state.shape[1]):
        observations[1, lane], observations[0, lane] = sin_cos(state[0, lane])
        observations[3, lane], observations[2, lane] = sin_cos(state[1, lane])
        observations[4, lane], observations[5, lane] = state[2, lane], state[3, lane]
