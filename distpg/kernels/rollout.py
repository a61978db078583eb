"""Episodes of a compiled environment, side by side in lanes that are refilled as episodes end.

Written for any environment: the names ``reset``, ``step`` and ``observe`` stand for its own functions, which
:func:`of_environment` puts in their place. What an episode plays depends on its number and the policy alone.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import functools
from collections.abc import Callable
from types import FunctionType

import numpy as np

from distpg.kernels.cartpole import observe, reset, step
from distpg.kernels.choice import choose_category
from distpg.kernels.compile_cache import njit
from distpg.kernels.intrinsics import fma
from distpg.kernels.lanes import choose_of_two, dense, difference, features, philox_blocks
from distpg.kernels.pcg64 import uniforms
from distpg.kernels.philox import philox

f32, u64 = np.float32, np.uint64

FINISHED, FULL, STOPPED, PAUSED = 0, 1, 2, 3
# Ticks after which it pauses, so that signals are heard.
PAUSE = 2**14
# Ticks of all lanes that fit the second cache, from which each lane's are taken one behind the other.
TICKS = 64


@njit
def begin(lane, lanes, episodes, progress, numbers, room):
    """The next episode in a lane; where none is left, one for nobody."""
    row, word = progress[0], room.word
    lanes.t[lane], lanes.total[lane] = 0, 0.0
    if row == len(episodes.length):  # simulators need not bear steps after an episode's end
        progress[4] -= lanes.plays[lane]
        lanes.plays[lane] = 0
        for k in range(len(room.uniforms)):
            room.uniforms[k] = 0.5
        reset(lanes.state, lane, room.uniforms)
        return
    progress[0] += 1
    progress[4] += 1 - lanes.plays[lane]
    episode = numbers.first_episode + u64(row)
    low, high = episode & u64(0xFFFFFFFF), episode >> u64(32)
    philox(u64(0), u64(0), low, (numbers.seed_stream << u64(24)) + high, numbers.seed, word)
    uniforms(word[0] >> np.uint32(1), word, room.pcg, room.uniforms)
    reset(lanes.state, lane, room.uniforms)
    for block in range(2):
        philox(u64(block), u64(0), low, (numbers.action_stream << u64(24)) + high, numbers.seed, word)
        for k in range(4):
            lanes.words[4 * block + k, lane] = word[k]
    lanes.episode[lane], lanes.row[lane], lanes.plays[lane] = episode, row, 1


@njit
def finish(lane, tick, lanes, episodes):
    """What an episode came to that has ended with this tick."""
    row, length, total = lanes.row[lane], lanes.t[lane], lanes.total[lane]
    for k in range(len(lanes.state)):
        if not np.isfinite(lanes.state[k, lane]):
            total = np.nan
    episodes.lane[row], episodes.start[row] = lane, tick + 1 - length
    episodes.length[row], episodes.total[row] = length, total
    episodes.terminated[row] = lanes.terminated[lane]


@njit
def refill(tick, last, lanes, episodes, progress, numbers, room):
    """Put new episodes into the lanes whose episodes are over; ``last`` are what those saw last."""
    for lane in range(len(lanes.over)):
        if lanes.over[lane]:
            if lanes.plays[lane]:
                finish(lane, tick, lanes, episodes)
                for k in range(len(last) if len(episodes.finals) else 0):
                    episodes.finals[lanes.row[lane], k] = last[k, lane]
            begin(lane, lanes, episodes, progress, numbers, room)


@njit
def choose_between_two(policy, observations, log_probs, lanes, numbers):
    """The actions of all lanes where there are two, behind one hidden layer; the rest as :func:`choose`."""
    outputs, size, units = lanes.outputs, policy.sizes[0], policy.sizes[1]
    inputs = observations
    if len(policy.mean) or len(policy.products):
        inputs = policy.hidden[0]
        features(observations, policy.mean, policy.scale, policy.products, inputs)
    weights = policy.parameters[: size * units].reshape((units, size))
    bias = policy.parameters[size * units : (size + 1) * units]
    difference(weights, bias, policy.last, policy.columns, inputs, outputs[1])
    if numbers.is_greedy or len(log_probs):
        choose_one_by_one(outputs, log_probs, lanes, numbers)
    else:
        choose_of_two(outputs[1], lanes.words, lanes.t, lanes.drawn, lanes.actions)


@njit
def choose(policy, observations, log_probs, lanes, numbers):
    """The actions of all lanes, and the logarithms of their probabilities where somebody wants them."""
    features(observations, policy.mean, policy.scale, policy.products, policy.hidden[0])
    sizes, half, end = policy.sizes, 0, 0
    for layer in range(len(sizes) - 1):
        inputs, units = sizes[layer], sizes[layer + 1]
        start, end = end, end + inputs * units
        weights, bias = policy.parameters[start:end].reshape((units, inputs)), policy.parameters[end:]
        end += units
        is_last = layer == len(sizes) - 2
        into = lanes.outputs if is_last else policy.hidden[1 - half]
        dense(weights, bias, policy.hidden[half], into, not is_last)
        half = 1 - half
    choose_one_by_one(lanes.outputs, log_probs, lanes, numbers)


@njit
def choose_one_by_one(outputs, log_probs, lanes, numbers):
    """As the other sampler does: see :mod:`distpg.kernels.choice`."""
    wants_log_probs, legal = len(log_probs) > 0, lanes.terminated[:0]
    words, t, actions, is_greedy = lanes.words, lanes.t, lanes.actions, numbers.is_greedy
    for lane in range(len(t)):
        word, h = words[t[lane] & 7, lane], outputs[:, lane]
        action, log_prob = choose_category(h, 0, len(h), legal, is_greedy, wants_log_probs, word)
        actions[lane] = action
        if wants_log_probs:
            log_probs[lane] = log_prob


@njit
def tick_over(tick, lanes, history, limit):
    """Put the step of all lanes into the history; whether an episode is over in any."""
    actions, rewards, t, over = history.actions[tick], history.rewards[tick], lanes.t, lanes.over
    chosen, given, terminated, total = lanes.actions, lanes.rewards, lanes.terminated, lanes.total
    for lane in range(len(t)):
        actions[lane] = chosen[lane]
    for lane in range(len(t)):
        rewards[lane] = given[lane]
        total[lane] += given[lane]
    ended = 0
    for lane in range(len(t)):
        t[lane] += 1
        over[lane] = np.int64(terminated[lane]) | np.int64(t[lane] >= limit)
        ended += over[lane]
    return ended > 0


@njit
def play(policy, lanes, history, episodes, numbers, progress, room):
    """Play until all episodes are over, the history is full, or another thread says that nobody wants them.

    Returns one of the four constants; where it is FULL or PAUSED, called again it goes on.

    Args:
        progress: int64[5]: episodes begun, steps so far, 1 to stop, ticks so far, lanes at play.
    """
    ticks = len(history.rewards)
    if progress[0] == 0:
        progress[3] = progress[4] = 0
        for lane in range(len(lanes.t)):
            begin(lane, lanes, episodes, progress, numbers, room)
    for tick in range(progress[3], min(progress[3] + PAUSE, ticks)):
        if progress[4] == 0:
            return FINISHED
        if progress[2]:
            return STOPPED
        if tick % 4 == 0:
            philox_blocks(lanes.t, lanes.episode, numbers.seed, numbers.action_stream, lanes.words)
        seen = history.observations[tick]
        observe(lanes.state, seen)
        log_probs = history.log_probs[tick] if len(history.log_probs) else lanes.drawn[:0]
        choose(policy, seen, log_probs, lanes, numbers)
        step(lanes.state, lanes.actions, lanes.rewards, lanes.terminated)
        progress[1] += progress[4]
        progress[3] = tick + 1
        if tick_over(tick, lanes, history, numbers.limit):
            last = policy.hidden[0, : seen.shape[0]]
            if len(episodes.finals):
                observe(lanes.state, last)
            refill(tick, last, lanes, episodes, progress, numbers, room)
    return FULL if progress[3] == ticks else PAUSED


@njit
def gather(history, played, episodes, order, places, ends, next_of, columns, numbers, into):
    """The episodes one behind the other, in the order of their numbers, with returns.

    Args:
        played: The ticks of the history that were played.
        order: int64[E], rows of ``episodes`` by lane, then by their start.
        places: int64[E], where each episode's steps begin.
        next_of, ends: int64[lanes], where in ``order`` a lane's episodes begin and end; the first is changed.
        columns: A tuple as long as an observation: the compiler sees its length.
    """
    for first in range(0, played, TICKS):
        for lane in range(len(ends)):
            while next_of[lane] < ends[lane]:
                row = order[next_of[lane]]
                start, end = episodes.start[row], episodes.start[row] + episodes.length[row]
                a, b = max(start, first), min(end, first + TICKS)
                if a < b:
                    take(history, a, b, lane, columns, into, places[row] + a - start)
                if end > first + TICKS:
                    break
                following = places[row] + episodes.length[row]
                sum_up(places[row], following, numbers.gamma, numbers.is_total, into)
                next_of[lane] += 1


@njit
def take(history, first, last, lane, columns, into, place):
    """A lane's steps of some ticks, with their rewards in place of returns."""
    # Unsigned, as numba looks of other places whether they are negative.
    size, lanes, ticks = u64(len(columns)), u64(history.rewards.shape[1]), u64(last - first)
    observations, seen = into.observations.reshape(-1), history.observations.reshape(-1)
    actions, chosen = into.actions, history.actions.reshape(-1)
    returns, given = into.returns, history.rewards.reshape(-1)
    log_probs, said = into.log_probs, history.log_probs.reshape(-1)
    there, here = u64(first) * size * lanes + u64(lane), u64(place) * size
    for _ in range(ticks):
        for k in range(len(columns)):
            observations[here + u64(k)] = seen[there + u64(k) * lanes]
        there, here = there + size * lanes, here + size
    there, here = u64(first) * lanes + u64(lane), u64(place)
    for tick in range(ticks):
        actions[here + tick] = chosen[there + tick * lanes]
        returns[here + tick] = given[there + tick * lanes]
    for tick in range(ticks if len(log_probs) else u64(0)):
        log_probs[here + tick] = said[there + tick * lanes]


@njit
def sum_up(first, last, gamma, is_total, into):
    """Returns of an episode, from its last step backwards, in place of its rewards."""
    returns, rewards, following = into.returns, into.rewards, 0.0
    for t in range(first, last if len(rewards) else first):
        rewards[t] = returns[t]
    for t in range(last - 1, first - 1, -1):
        following = fma(gamma, following, np.float64(returns[t]))
        returns[t] = f32(following)
    for t in range(first, last if is_total else first):
        returns[t] = f32(following)


@functools.cache
def of_environment(
    reset: Callable[..., None],
    step: Callable[..., None],
    observe: Callable[..., None],
    is_between_two: bool,
    key: str | None,
) -> Callable[..., int]:
    """:func:`play` with an environment's own functions, kept under ``key``.

    ``is_between_two``: see :func:`choose_between_two`; what is not needed is not compiled.
    """
    functions = {"reset": reset, "step": step, "observe": observe}
    names = {
        **globals(),
        **{name: njit(function, key, allocates=True) for name, function in functions.items()},
    }
    if is_between_two:
        names["choose"] = choose_between_two
    for function in (begin, refill, play):
        plain = function.py_func
        names[plain.__name__] = njit(FunctionType(plain.__code__, names, plain.__name__), key)
    play_it: Callable[..., int] = names["play"]
    return play_it
