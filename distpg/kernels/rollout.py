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
# Blocks of ticks after which it pauses, so that signals are heard.
PAUSE = 2**10


@njit
def begin(lane, tick, lanes, episodes, progress, numbers, room):
    """The next episode in a lane, from that tick of the block on; where none is left, one for nobody."""
    row, word = progress[0], room.word
    lanes.t[lane], lanes.since[lane], lanes.total[lane] = 0, tick, 0.0
    if row == len(episodes.length):  # simulators need not bear steps after an episode's end
        lanes.plays[lane] = 0
        for k in range(len(room.uniforms)):
            room.uniforms[k] = 0.5
        reset(lanes.state, lane, room.uniforms)
        return
    progress[0] += 1
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
    episodes.lane[row], episodes.start[row] = lane, lanes.at[lane]


@njit
def write_down(first_lane, last_lane, end, lanes, block, steps):
    """What some lanes played in the block up to a tick, into Steps."""
    # Fields first: numba counts references wherever one is looked up, which costs as much as a step, and so
    # does each slice. Places are unsigned, as it looks whether others are below 0.
    at, since, plays = lanes.at, lanes.since, lanes.plays
    observations, columns, capacity = (
        block.observations.reshape(-1),
        block.columns,
        u64(steps.returns.shape[1]),
    )
    actions, rewards, log_probs = (
        block.actions.reshape(-1),
        block.rewards.reshape(-1),
        block.log_probs.reshape(-1),
    )
    all_observations, all_actions = steps.observations.reshape(-1), steps.actions.reshape(-1)
    all_returns, all_rewards = steps.returns.reshape(-1), steps.rewards.reshape(-1)
    all_log_probs = steps.log_probs.reshape(-1)
    count, size = u64(len(at)), u64(len(columns))
    for lane in range(first_lane, last_lane):
        if plays[lane]:
            start, here = u64(since[lane]), u64(lane) * capacity + u64(at[lane])
            num_ticks = u64(end) - start
            for tick in range(num_ticks):
                row, into = (start + tick) * size * count + u64(lane), (here + tick) * size
                for k in range(len(columns)):
                    all_observations[into + u64(k)] = observations[row + u64(k) * count]
            for tick in range(num_ticks):
                row = (start + tick) * count + u64(lane)
                all_actions[here + tick] = actions[row]
                all_returns[here + tick] = rewards[row]
            for tick in range(num_ticks if len(all_rewards) else u64(0)):
                all_rewards[here + tick] = rewards[(start + tick) * count + u64(lane)]
            for tick in range(num_ticks if len(log_probs) else u64(0)):
                all_log_probs[here + tick] = log_probs[(start + tick) * count + u64(lane)]
            at[lane] += end - since[lane]
            since[lane] = end


@njit
def finish(lane, lanes, steps, episodes, numbers):
    """What an episode came to: its returns, from its last step backwards."""
    row, end, gamma = lanes.row[lane], lanes.at[lane], numbers.gamma
    start, total = episodes.start[row], lanes.total[lane]
    returns = steps.returns[lane, start:end]
    following = 0.0
    for t in range(end - start - 1, -1, -1):
        following = fma(gamma, following, np.float64(returns[t]))
        returns[t] = f32(following)
    for t in range(end - start if numbers.is_total else 0):
        returns[t] = f32(following)
    for k in range(len(lanes.state)):
        if not np.isfinite(lanes.state[k, lane]):
            total = np.nan
    episodes.length[row], episodes.total[row] = end - start, total
    episodes.terminated[row] = lanes.terminated[lane]


@njit
def choose_between_two(policy, observations, log_probs, lanes, numbers):
    """The actions of all lanes where there are two, behind one hidden layer; the rest as :func:`choose`."""
    features(observations, policy.mean, policy.scale, policy.products, policy.hidden[0])
    outputs, inputs, units = lanes.outputs, policy.sizes[0], policy.sizes[1]
    weights = policy.parameters[: inputs * units].reshape((units, inputs))
    bias = policy.parameters[inputs * units : (inputs + 1) * units]
    difference(weights, bias, policy.last, policy.columns, policy.hidden[0], outputs[1])
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
def tick_over(tick, lanes, block, limit):
    """Put the step of all lanes into the block; whether an episode is over in any."""
    # Fields first: numba counts references wherever one is looked up, and would do so in each turn.
    chosen, given, terminated, total = lanes.actions, lanes.rewards, lanes.terminated, lanes.total
    t = lanes.t
    actions, rewards = block.actions[tick], block.rewards[tick]
    ended = 0
    for lane in range(len(t)):
        actions[lane] = chosen[lane]
    for lane in range(len(t)):
        rewards[lane] = given[lane]
        total[lane] += given[lane]
    for lane in range(len(t)):
        t[lane] += 1
        ended += np.int64(terminated[lane]) | np.int64(t[lane] >= limit)
    return ended > 0


@njit
def play(policy, lanes, block, steps, episodes, numbers, progress, room):
    """Play until all episodes are over, Steps are full, or another thread says that nobody wants them.

    Returns one of the four constants; where it is FULL or PAUSED, called again it goes on.

    Args:
        progress: int64[3]: episodes begun, steps so far, 1 to stop.
    """
    capacity, ticks, count = steps.returns.shape[1], len(block.rewards), len(lanes.t)
    if progress[0] == 0:
        for lane in range(count):
            lanes.at[lane] = 0
            begin(lane, 0, lanes, episodes, progress, numbers, room)
    for _ in range(PAUSE):
        playing, highest = 0, 0
        for lane in range(count):
            playing += lanes.plays[lane]
            highest = max(highest, lanes.at[lane])
            lanes.since[lane] = 0
        if playing == 0:
            return FINISHED
        if progress[2]:
            return STOPPED
        if highest + ticks > capacity:
            return FULL
        for tick in range(ticks):
            if tick % 4 == 0:
                philox_blocks(lanes.t, lanes.episode, numbers.seed, numbers.action_stream, lanes.words)
            seen = block.observations[tick]
            observe(lanes.state, seen)
            choose(
                policy,
                seen,
                block.log_probs[tick] if len(block.log_probs) else lanes.drawn[:0],
                lanes,
                numbers,
            )
            step(lanes.state, lanes.actions, lanes.rewards, lanes.terminated)
            if tick_over(tick, lanes, block, numbers.limit):
                last = policy.hidden[0, : seen.shape[0]]
                if len(episodes.finals):
                    observe(lanes.state, last)
                for lane in range(count):
                    if lanes.terminated[lane] or lanes.t[lane] >= numbers.limit:
                        if lanes.plays[lane]:
                            write_down(lane, lane + 1, tick + 1, lanes, block, steps)
                            for k in range(len(last) if len(episodes.finals) else 0):
                                episodes.finals[lanes.row[lane], k] = last[k, lane]
                            finish(lane, lanes, steps, episodes, numbers)
                        begin(lane, tick + 1, lanes, episodes, progress, numbers, room)
        write_down(0, count, ticks, lanes, block, steps)
        progress[1] += playing * ticks
    return PAUSED


@njit
def gather(steps, episodes, into):
    """The episodes one behind the other, in the order of their numbers, into Steps of one dimension less."""
    size, capacity, end = into.observations.shape[1], steps.returns.shape[1], 0
    observations, from_observations = into.observations.reshape(-1), steps.observations.reshape(-1)
    actions, from_actions = into.actions, steps.actions.reshape(-1)
    returns, from_returns = into.returns, steps.returns.reshape(-1)
    rewards, from_rewards = into.rewards, steps.rewards.reshape(-1)
    log_probs, from_log_probs = into.log_probs, steps.log_probs.reshape(-1)
    for row in range(len(episodes.length)):
        start, end = end, end + episodes.length[row]
        first = episodes.lane[row] * capacity + episodes.start[row]
        last = first + episodes.length[row]
        observations[start * size : end * size] = from_observations[first * size : last * size]
        actions[start:end] = from_actions[first:last]
        returns[start:end] = from_returns[first:last]
        if len(rewards):
            rewards[start:end] = from_rewards[first:last]
        if len(log_probs):
            log_probs[start:end] = from_log_probs[first:last]


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
    names = {**globals(), **{name: njit(function, key) for name, function in functions.items()}}
    if is_between_two:
        names["choose"] = choose_between_two
    for function in (begin, play):
        plain = function.py_func
        names[plain.__name__] = njit(FunctionType(plain.__code__, names, plain.__name__), key)
    play_it: Callable[..., int] = names["play"]
    return play_it
