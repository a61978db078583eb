"""How long an environment's steps take by themselves, and how long its episodes are."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from time import perf_counter

from distpg.environments.envs import close_env, make_env
from distpg.environments.making import EnvSpec
from distpg.environments.trace import MAX_STEPS, NUM_EPISODES, actions_of, legal_of, reset_seed
from distpg.system.hardware import time_in_queue
from distpg.system.surroundings import theirs

# So many lengths say something of their spread.
_ENOUGH_EPISODES = 20


@dataclass(frozen=True)
class Speed:
    """Wall and CPU time of ``steps`` steps, resets included, and the lengths of all whole episodes.

    Attributes:
        queued_seconds: Of the wall time, what went by waiting for a CPU, which others had.
    """

    steps: int
    seconds: float
    cpu_seconds: float
    lengths: tuple[int, ...]
    queued_seconds: float = 0.0

    @property
    def own_seconds(self) -> float:
        """What the steps would have taken on an idle machine."""
        return max(self.seconds - self.queued_seconds, min(self.cpu_seconds, self.seconds))


def measure_speed(spec: EnvSpec, seconds: float, at_most_s: float) -> Speed:
    """Play whole episodes for so many seconds, or three times as long where they are few.

    The last one is cut where it would take more than ``at_most_s`` in all. Raises what that does.
    """
    steps, ended = 0, True
    lengths: list[int] = []
    with theirs(), contextlib.ExitStack() as stack:
        env = make_env(spec)
        stack.callback(close_env, env)
        actions = [actions_of(env, number, MAX_STEPS) for number in range(NUM_EPISODES)]
        began, cpu_began, queue_began = perf_counter(), time.process_time(), time_in_queue()
        while ended and perf_counter() - began <= seconds * (1 if len(lengths) >= _ENOUGH_EPISODES else 3):
            number, length = len(lengths), 0
            observation, info = env.reset(seed=reset_seed(number))
            legal = legal_of(env, info)
            for action in itertools.cycle(actions[number % NUM_EPISODES]):
                if legal is not None:
                    action = legal(action, observation, info)
                observation, _, terminated, truncated, info = env.step(action)
                length += 1
                ended = bool(terminated or truncated)
                if ended or perf_counter() - began > at_most_s:
                    break
            steps += length
            if ended:
                lengths.append(length)
        queued = time_in_queue() - queue_began
        cpu, wall = time.process_time() - cpu_began, perf_counter() - began
    return Speed(steps, wall, cpu, tuple(lengths), queued)
