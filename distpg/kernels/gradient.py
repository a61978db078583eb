"""The policy gradient of a layered softmax policy over many steps, a few at a time in the cache.

Numbers of a layer lie in blocks of UNITS, so that each loop over units is one of vector instructions; a chunk
of ROWS steps goes through all layers and back. Preferences are those above the first action's, since softmax
sees differences alone. Every product and sum is rounded as written: the same bits on every CPU.

Sources: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986); for the
loss see :mod:`distpg.learning.policy_gradient`.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import LARGEST_FEATURE
from distpg.kernels.blocks import (
    BLOCK,
    ROWS,
    SUMS,
    UNITS,
    add_all,
    add_dots,
    add_errors,
    add_gated_outer,
    add_outer,
    add_outer_row,
    add_rows,
    add_up,
    let_through,
)
from distpg.kernels.compile_cache import njit
from distpg.kernels.softmax import slopes_of_loss, softmax

f32 = np.float32
# Chunks whose gradients are added up as float32 before they go into the float64 sums.
CHUNKS = 2
LARGEST = f32(LARGEST_FEATURE)


class Layers(NamedTuple):
    """A policy as its gradient takes it; see :mod:`distpg.learning.compiled_gradient`.

    Attributes:
        parameters: float32, flat. Of each hidden layer, for each block of its units: a row of UNITS for each
            input, then one of biases. Then, for each block of the last layer's inputs: a row for each action
            but the first.
        across: float32, of each hidden layer but the first, for each block of its inputs: a row for each of
            its units.
        biases: float32[actions - 1], the last layer's.
        sizes: int64, numbers of inputs of each layer, rounded up: the first's to 4, the others' to UNITS.
        products: int64[columns, 2], as of :func:`distpg.core.policies.flat_products`.
        mean, scale: float32[observation size], or of length 0 where observations are taken as they are.
    """

    parameters: NDArray[np.float32]
    across: NDArray[np.float32]
    biases: NDArray[np.float32]
    sizes: NDArray[np.int64]
    products: NDArray[np.int64]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


class Room(NamedTuple):
    """Memory for a chunk.

    Attributes:
        activations, errors: float32[layers, blocks * BLOCK], a layer's inputs and their derivatives.
        preferences, slopes: float32[actions - 1, ROWS], above the first action's; and their derivatives.
        kept: as ``preferences``.
        scratch: float32[3, ROWS]; entropies, log_totals: float32[ROWS]; actions: int32[ROWS].
        sums: float32[ROWS * SUMS].
        gradient: float32, as ``parameters``; by_biases: float32[actions - 1].
    """

    activations: NDArray[np.float32]
    errors: NDArray[np.float32]
    preferences: NDArray[np.float32]
    slopes: NDArray[np.float32]
    kept: NDArray[np.float32]
    scratch: NDArray[np.float32]
    entropies: NDArray[np.float32]
    log_totals: NDArray[np.float32]
    actions: NDArray[np.int32]
    sums: NDArray[np.float32]
    gradient: NDArray[np.float32]
    by_biases: NDArray[np.float32]


def new_room(sizes, num_actions, num_parameters):
    """Memory for the chunks of a policy with these ``sizes``, see :class:`Layers`."""
    widest = max(-(-int(size) // UNITS) for size in sizes) * BLOCK
    layers, of_actions = (len(sizes), widest), (num_actions - 1, ROWS)
    rows, others = (ROWS,), (num_actions - 1,)
    shapes = (layers, layers, *[of_actions] * 3, (3, ROWS), rows, rows, rows, (ROWS * SUMS,))
    room = Room._make(np.zeros(shape, f32) for shape in (*shapes, (num_parameters,), others))
    return room._replace(actions=np.zeros(ROWS, np.int32))


@njit
def take_in(observations, first, count, layers, inputs):
    """Features of some steps into the first layer's inputs."""
    size, mean, scale, products = observations.shape[1], layers.mean, layers.scale, layers.products
    for k in range(size):
        into = place(k)
        if len(mean):
            for r in range(count):
                x = (observations[first + r, k] - mean[k]) * scale[k]
                inputs[into + r * UNITS] = min(max(x, -LARGEST), LARGEST)
        else:
            for r in range(count):
                inputs[into + r * UNITS] = observations[first + r, k]
    for k in range(len(products)):
        into, one, other = place(size + k), place(products[k, 0]), place(products[k, 1])
        for r in range(count):
            inputs[into + r * UNITS] = inputs[one + r * UNITS] * inputs[other + r * UNITS]


@njit
def place(k):
    """Where number k of a chunk's first row is."""
    return k // UNITS * BLOCK + k % UNITS


@njit
def hidden_layer(parameters, start, num_inputs, num_units, inputs, outputs):
    """Outputs of a layer of ReLU for a chunk."""
    for block in range(num_units // UNITS):
        out, bias = outputs[block * BLOCK : (block + 1) * BLOCK], start + num_inputs * UNITS
        begin, step = parameters[bias : bias + UNITS], np.int64(0)
        for k in range(0, num_inputs, UNITS):
            count = min(UNITS, num_inputs - k)
            rows = parameters[start + k * UNITS : start + (k + count) * UNITS]
            below = inputs[k // UNITS * BLOCK : (k // UNITS + 1) * BLOCK]
            add_rows(begin, step, rows, count, below, k + count == num_inputs, out)
            begin, step = out, UNITS
        start = bias + UNITS


@njit
def last_layer(parameters, start, biases, num_inputs, inputs, sums, preferences):
    """Preferences of a chunk."""
    num_actions = len(biases)
    for k in range(num_actions):
        sums[:] = f32(0.0)
        for block in range(-(-num_inputs // UNITS)):
            w, x = start + (block * num_actions + k) * UNITS, inputs[block * BLOCK : (block + 1) * BLOCK]
            add_dots(parameters[w : w + UNITS], x, sums)
        add_up(sums, biases[k], preferences[k])


@njit
def last_layer_back(layers, start, num_inputs, inputs, errors, room, wants_errors):
    """The last layer's gradient of a chunk; where somebody wants them, the derivatives by its sums below."""
    slopes, gradient, parameters, num_actions = (
        room.slopes,
        room.gradient,
        layers.parameters,
        len(layers.biases),
    )
    for k in range(num_actions):
        total = f32(0.0)
        for r in range(ROWS):
            total += slopes[k, r]
        room.by_biases[k] += total
    for block in range(-(-num_inputs // UNITS)):
        x, e = inputs[block * BLOCK : (block + 1) * BLOCK], errors[block * BLOCK : (block + 1) * BLOCK]
        for k in range(num_actions):
            w = start + (block * num_actions + k) * UNITS
            add_outer_row(gradient[w : w + UNITS], x, slopes[k])
            if wants_errors:
                add_errors(e, parameters[w : w + UNITS], slopes[k], x, k == 0)


@njit
def only_hidden_layer_back(layers, start, room):
    """The gradient of a hidden layer of at most UNITS inputs, where no other is; ``start``: of the last."""
    num_inputs, num_actions, inputs = layers.sizes[0], len(layers.biases), room.activations[0]
    for block in range(layers.sizes[1] // UNITS):
        weights = layers.parameters[start + block * num_actions * UNITS :]
        outputs, at = room.activations[1, block * BLOCK :], block * (num_inputs + 1) * UNITS
        add_gated_outer(room.gradient[at:], weights, room.slopes, outputs, inputs, num_inputs)


@njit
def hidden_layer_back(gradient, start, num_inputs, num_units, inputs, errors):
    """A hidden layer's gradient of a chunk, from the derivatives by its sums."""
    for block in range(num_units // UNITS):
        e = errors[block * BLOCK : (block + 1) * BLOCK]
        for k in range(0, num_inputs, UNITS):
            below, w = inputs[k // UNITS * BLOCK : (k // UNITS + 1) * BLOCK], start + k * UNITS
            add_outer(gradient[w:], e, below, min(UNITS, num_inputs - k))
        start += num_inputs * UNITS
        add_all(gradient[start : start + UNITS], e)
        start += UNITS


@njit
def errors_below(across, start, num_inputs, num_units, errors, outputs, below):
    """Derivatives by the sums of the hidden layer below, whose ``outputs`` are this one's inputs."""
    # Values of a plain 64 and False would be types of their own, compiled by themselves.
    units, never = np.int64(UNITS), num_units == 0
    for block in range(num_inputs // UNITS):
        out = below[block * BLOCK : (block + 1) * BLOCK]
        out[:] = f32(0.0)
        for u in range(0, num_units, UNITS):
            e, w = errors[u // UNITS * BLOCK : (u // UNITS + 1) * BLOCK], start + u * UNITS
            add_rows(out, units, across[w : w + UNITS * UNITS], units, e, never, out)
        let_through(out, outputs[block * BLOCK : (block + 1) * BLOCK])
        start += num_units * UNITS


@njit
def forward(layers, room, observations, first, count):
    """Preferences of a chunk, and the inputs of all layers; where the last layer's parameters begin."""
    sizes, start = layers.sizes, np.int64(0)  # a plain 0 would be a type of its own, compiled by itself
    take_in(observations, first, count, layers, room.activations[0])
    for layer in range(len(sizes) - 1):
        below, above = room.activations[layer], room.activations[layer + 1]
        hidden_layer(layers.parameters, start, sizes[layer], sizes[layer + 1], below, above)
        start += (sizes[layer] + 1) * sizes[layer + 1]
    last = len(sizes) - 1
    inputs = room.activations[last]
    last_layer(layers.parameters, start, layers.biases, sizes[last], inputs, room.sums, room.preferences)
    return start


@njit
def backward(layers, room, start):
    """Add a chunk's gradient."""
    sizes, last = layers.sizes, len(layers.sizes) - 1
    is_small = last == 1 and sizes[0] <= UNITS
    last_layer_back(
        layers, start, sizes[last], room.activations[last], room.errors[last], room, last > 0 and not is_small
    )
    if is_small:
        only_hidden_layer_back(layers, start, room)
        return
    across = len(layers.across)
    for layer in range(last - 1, -1, -1):
        num_inputs, num_units = sizes[layer], sizes[layer + 1]
        start -= (num_inputs + 1) * num_units
        inputs, errors = room.activations[layer], room.errors[layer + 1]
        hidden_layer_back(room.gradient, start, num_inputs, num_units, inputs, errors)
        if layer > 0:
            across -= num_inputs * num_units
            errors_below(layers.across, across, num_inputs, num_units, errors, inputs, room.errors[layer])


@njit
def differentiate(
    layers, room, observations, actions, weights, log_probs_then, limit, entropy_coef, gradient, totals, kept
):
    """The gradient of the loss's sum over N steps.

    Args:
        observations: float32[N, size]; actions: unsigned[N].
        weights: float32[N], of each step's log-probability.
        log_probs_then: float32[N], or of length 0 where the weights of now played the steps; ``limit`` of
            their ratios, see :func:`distpg.learning.policy_gradient.truncated_ratios`.
        gradient: float64, the result: as ``parameters``, then as ``biases``.
        totals: float64[2], the sums of the loss and of the entropies.
        kept: float32[actions - 1, N], the preferences.
    """
    size, num_steps = len(room.gradient), len(actions)
    gradient[:], totals[:] = 0.0, 0.0
    for part in range(0, num_steps, CHUNKS * ROWS):
        room.gradient[:], room.by_biases[:] = f32(0.0), f32(0.0)
        for first in range(part, min(part + CHUNKS * ROWS, num_steps), ROWS):
            count = min(ROWS, num_steps - first)
            start = forward(layers, room, observations, first, count)
            keep(room.preferences, kept, first, count)
            slopes_of_loss(first, count, actions, weights, log_probs_then, limit, entropy_coef, room, totals)
            backward(layers, room, start)
        for i in range(size):
            gradient[i] += room.gradient[i]
        for k in range(len(room.by_biases)):
            gradient[size + k] += room.by_biases[k]


@njit
def preferences(layers, room, observations, kept):
    """Those of N states: into float32[actions - 1, N]."""
    for first in range(0, len(observations), ROWS):
        count = min(ROWS, len(observations) - first)
        forward(layers, room, observations, first, count)
        keep(room.preferences, kept, first, count)


@njit
def keep(preferences, kept, first, count):
    """A chunk's among those of all steps."""
    for k in range(len(preferences)):
        for r in range(count):
            kept[k, first + r] = preferences[k, r]


@njit
def divergence(before, after, room):
    """The sum over N states of KL(policy before || policy after): preferences float32[actions - 1, N]."""
    total, num_steps = 0.0, before.shape[1]
    then, now, pi = room.kept, room.preferences, room.slopes
    for first in range(0, num_steps, ROWS):
        count = min(ROWS, num_steps - first)
        for k in range(len(then)):
            for r in range(count):
                then[k, r], now[k, r] = before[k, first + r], after[k, first + r]
        softmax(now, room.scratch, pi, room.entropies)
        for r in range(ROWS):
            room.log_totals[r] = room.scratch[0, r]
        softmax(then, room.scratch, pi, room.entropies)
        for r in range(count):
            total += np.float64(room.log_totals[r]) - np.float64(room.scratch[0, r])
            for k in range(len(pi)):
                total += np.float64(pi[k, r]) * (np.float64(then[k, r]) - np.float64(now[k, r]))
    return total
