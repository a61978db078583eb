"""Softmax policies of a chunk of steps: probabilities, entropies, and the derivatives of the loss.

Preferences are those above the first action's, whose own is 0: softmax sees differences alone.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.blocks import ROWS
from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import exp, log
from distpg.kernels.intrinsics import fma

f32 = np.float32


@njit
def softmax(preferences, scratch, pi, entropies):
    """Probabilities of all actions but the first, entropies, and in scratch[0] the log of what they sum to.

    ``preferences`` and ``pi`` are float32[actions - 1, ROWS], ``scratch`` float32[3, ROWS].
    """
    log_total, total, weighted = scratch[0], scratch[1], scratch[2]
    log_total[:] = f32(0.0)
    for k in range(len(preferences)):
        h = preferences[k]
        for r in range(ROWS):
            log_total[r] = max(log_total[r], h[r])
    for r in range(ROWS):
        total[r], weighted[r] = exp(-log_total[r]), f32(0.0)
    for k in range(len(preferences)):
        h, p = preferences[k], pi[k]
        for r in range(ROWS):
            p[r] = exp(h[r] - log_total[r])
            total[r] += p[r]
            weighted[r] = fma(p[r], h[r], weighted[r])
    for r in range(ROWS):
        log_total[r] += log(total[r])
        total[r] = f32(1.0) / total[r]
        entropies[r] = fma(-weighted[r], total[r], log_total[r])
    for k in range(len(preferences)):
        p = pi[k]
        for r in range(ROWS):
            p[r] *= total[r]


@njit
def slopes_of_loss(first, count, actions, weights, log_probs_then, limit, entropy_coef, room, totals):
    """The loss's derivatives by a chunk's preferences; adds its loss and its entropies to ``totals``.

    d loss / d h(k) = w (pi(k) - 1[k = a]) + c pi(k) (log pi(k) + H): see
    :func:`distpg.learning.policy_gradient.preference_gradient`.
    """
    preferences, slopes, scratch, entropies = room.preferences, room.slopes, room.scratch, room.entropies
    softmax(preferences, scratch, slopes, entropies)
    log_total, chosen, weight, action = scratch[0], scratch[1], scratch[2], room.actions
    weight[:], action[:] = f32(0.0), 0
    for r in range(count):
        action[r], weight[r] = actions[first + r], weights[first + r]
    for r in range(ROWS):
        chosen[r] = -log_total[r]
    for k in range(len(preferences)):
        h = preferences[k]
        for r in range(ROWS):
            chosen[r] += h[r] * f32(action[r] == k + 1)
    if len(log_probs_then):
        for r in range(count):
            x = chosen[r] - log_probs_then[first + r]
            ratio = exp(-abs(x))
            weight[r] *= min(limit, ratio if x <= f32(0.0) else f32(1.0) / ratio)
    for k in range(len(preferences)):
        h, slope = preferences[k], slopes[k]
        for r in range(ROWS):
            by_entropy = entropy_coef * ((h[r] - log_total[r]) + entropies[r])
            slope[r] = slope[r] * (weight[r] + by_entropy) - weight[r] * f32(action[r] == k + 1)
    if count < ROWS:
        slopes[:, count:] = f32(0.0)
    loss, entropy = 0.0, 0.0
    for r in range(count):
        loss -= np.float64(chosen[r] * weight[r])
        entropy += np.float64(entropies[r])
    totals[0] += loss - np.float64(entropy_coef) * entropy
    totals[1] += entropy
