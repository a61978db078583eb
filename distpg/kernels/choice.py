"""A policy's choices from its outputs, compiled: of categories, or of numbers with a normal distribution."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.elementary import exp, log, normal_quantile
from distpg.kernels.forward import BLOCK, block
from distpg.kernels.philox import philox

f32, u64 = np.float32, np.uint64
LOG_2, LOG_ROOT_2_PI = f32(np.log(2)), f32(0.5 * np.log(2 * np.pi))


@njit
def draw(words, lane, dimension, t, numbers):
    """The random word of step t and an action's dimension; a new four of them at every fourth step."""
    seed, stream, first = numbers[0], numbers[1], numbers[2]
    if t % 4 == 0:
        episode = first + u64(lane)
        high = (stream << u64(24)) + (episode >> u64(32))
        low = episode & u64(0xFFFFFFFF)
        philox(u64(t // 4), u64(dimension), low, high, seed, words[lane, dimension])
    return words[lane, dimension, t % 4]


@njit
def choose_category(h, start, end, legal, is_greedy, wants_log_prob, word):
    """A category k with probability exp h[k] / sum of exp h, of those that are legal; and its logarithm."""
    is_masked = len(legal) > 0
    best, last = -1, end - 1
    for k in range(start, end):
        if not is_masked or legal[k]:
            if best < 0 or h[k] > h[best]:
                best = k
            last = k
    highest, total, action = h[best], f32(0.0), best
    if not is_greedy or wants_log_prob:
        for k in range(start, end):
            if not is_masked or legal[k]:
                total += exp(h[k] - highest)
    if not is_greedy:
        u = f32(word >> np.uint32(8)) * f32(2.0**-24)
        below, action = f32(0.0), last
        for k in range(start, last):
            if not is_masked or legal[k]:
                below += exp(h[k] - highest) / total
                if u < below:
                    action = k
                    break
    log_prob = (h[action] - highest) - log(total) if wants_log_prob else f32(0.0)
    return action - start, log_prob


@njit
def choose_categories(h, parts, lane, at, t, words, numbers, masks, actions, choices, log_probs):
    """One choice of each part's categories, into ``actions[lane, at]`` and ``choices``."""
    is_greedy, wants_log_prob = numbers[3] != u64(0), len(log_probs) > 0
    has_masks = masks.shape[2] > 0
    legal = masks[lane if has_masks else 0, at if has_masks else 0]
    start, total = 0, f32(0.0)
    for part in range(len(parts)):
        end = start + parts[part]
        word = np.uint32(0) if is_greedy else draw(words, lane, part, t, numbers)
        action, log_prob = choose_category(h, start, end, legal, is_greedy, wants_log_prob, word)
        choices[part] = actions[lane, at, part] = action
        total += log_prob
        start = end
    if wants_log_prob:
        log_probs[lane, at] = total


@njit
def squashed(x):
    """Tanh x, and the logarithm of its slope: 2 (log 2 - x - log(1 + exp(-2 x)))."""
    e = exp(f32(-2.0) * abs(x))
    tanh = (f32(1.0) - e) / (f32(1.0) + e)
    slope = f32(2.0) * (LOG_2 - abs(x) - log(f32(1.0) + e))
    return (tanh if x >= f32(0.0) else -tanh), slope


@njit
def choose_numbers(h, squashes, lane, at, t, words, numbers, actions, choices, log_probs):
    """Numbers with means h[:k] and logarithms of deviations h[k:], into ``actions[lane, at]``.

    ``choices`` has them as they are played: where ``squashes``, their tanh, whose log-probability it is then.
    """
    is_greedy, size, total = numbers[3] != u64(0), actions.shape[2], f32(0.0)
    for k in range(size):
        log_deviation = h[size + k]
        z = f32(0.0)
        if not is_greedy:
            word = draw(words, lane, k, t, numbers)
            z = normal_quantile((f32(word >> np.uint32(9)) + f32(0.5)) * f32(2.0**-23))
        deviation = exp(-abs(log_deviation))
        if log_deviation > f32(0.0):
            deviation = f32(1.0) / deviation
        x = h[k] + deviation * z
        choices[k] = actions[lane, at, k] = x
        total += f32(-0.5) * z * z - log_deviation - LOG_ROOT_2_PI
        if squashes:
            choices[k], slope = squashed(x)
            total -= slope
    if len(log_probs) > 0:
        log_probs[lane, at] = total


@njit
def choose_all_categories(outputs, parts, actions, log_probs, masks, choices, words, lanes, at, t, numbers):
    """:func:`choose_categories` of some lanes from their outputs float32[lanes given, outputs]."""
    for row in range(len(lanes)):
        lane = lanes[row]
        choose_categories(
            outputs[row], parts, lane, at, t, words, numbers, masks, actions, choices[row], log_probs
        )


@njit
def choose_all_numbers(outputs, squashes, actions, log_probs, masks, choices, words, lanes, at, t, numbers):
    """:func:`choose_numbers`, likewise."""
    for row in range(len(lanes)):
        lane = lanes[row]
        choose_numbers(outputs[row], squashes, lane, at, t, words, numbers, actions, choices[row], log_probs)


@njit
def tick_categories(
    parameters,
    sizes,
    products,
    mean,
    scale,
    scratch,
    parts,
    observations,
    actions,
    log_probs,
    masks,
    choices,
    words,
    lanes,
    at,
    t,
    numbers,
):
    """One step of some lanes, as :meth:`CompiledPolicy.act` says; the first six as of ``block``."""
    for start in range(0, len(lanes), BLOCK):
        rows = min(BLOCK, len(lanes) - start)
        half = block(parameters, sizes, products, mean, scale, scratch, observations, lanes, at, start, rows)
        for row in range(rows):
            choose_categories(
                scratch[half, row],
                parts,
                lanes[start + row],
                at,
                t,
                words,
                numbers,
                masks,
                actions,
                choices[start + row],
                log_probs,
            )


@njit
def tick_numbers(
    parameters,
    sizes,
    products,
    mean,
    scale,
    scratch,
    log_deviations,
    squashes,
    observations,
    actions,
    log_probs,
    masks,
    choices,
    words,
    lanes,
    at,
    t,
    numbers,
):
    """As :func:`tick_categories`, of numbers; ``log_deviations`` float32[k] are of no observation."""
    size = len(log_deviations)
    for start in range(0, len(lanes), BLOCK):
        rows = min(BLOCK, len(lanes) - start)
        half = block(parameters, sizes, products, mean, scale, scratch, observations, lanes, at, start, rows)
        for row in range(rows):
            for k in range(size):
                scratch[half, row, size + k] = log_deviations[k]
            choose_numbers(
                scratch[half, row],
                squashes,
                lanes[start + row],
                at,
                t,
                words,
                numbers,
                actions,
                choices[start + row],
                log_probs,
            )
