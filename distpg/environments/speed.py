"""How long an environment's steps take by themselves, and how long its episodes are."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from time import perf_counter

from distpg.environments.envs import EnvSpec, close_env, make_env
from distpg.environments.trace import MAX_STEPS, NUM_EPISODES, actions_of, reset_seed
from distpg.system.surroundings import theirs

# So many lengths say something of their spread.
_ENOUGH_EPISODES = 20


@dataclass(frozen=True)
class Speed:
    """Wall and CPU time of ``steps`` steps, resets included, and the lengths of all whole episodes."""

    steps: int
    seconds: float
    cpu_seconds: float
    lengths: tuple[int, ...]


def measure_speed(spec: EnvSpec, seconds: float, at_most_s: float) -> Speed:
    """Play whole episodes for so many seconds, or three times as long where they are few.

    The last one is cut where it would take more than ``at_most_s`` in all. Raises what that does.
    """
    wall = cpu = 0.0
    steps, ended = 0, True
    lengths: list[int] = []
    with theirs(), contextlib.ExitStack() as stack:
        env = make_env(spec)
        stack.callback(close_env, env)
        actions = [actions_of(env, number, MAX_STEPS) for number in range(NUM_EPISODES)]
        while ended and wall <= (seconds if len(lengths) >= _ENOUGH_EPISODES else 3 * seconds):
            number, length = len(lengths), 0
            seed = reset_seed(number)
            began, cpu_began = perf_counter(), time.process_time()
            env.reset(seed=seed)
            for action in itertools.cycle(actions[number % NUM_EPISODES]):
                _, _, terminated, truncated, _ = env.step(action)
                length += 1
                ended = bool(terminated or truncated)
                if ended or wall + perf_counter() - began > at_most_s:
                    break
            wall += perf_counter() - began
            cpu += time.process_time() - cpu_began
            steps += length
            if ended:
                lengths.append(length)
    return Speed(steps, wall, cpu, tuple(lengths))
