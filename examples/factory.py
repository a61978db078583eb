"""A factory: any function that gives an environment, for what nobody registers.

    distpg train --env-id examples.factory:lake --env-kwargs '{"size": 4}'

From a script or a notebook, `distpg.train(distpg.TrainConfig(env_id=lake))` does the same.
"""

from typing import Any

import gymnasium
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map


def lake(size: int = 4, seed: int = 1) -> gymnasium.Env[Any, Any]:
    """A frozen lake of its own, on which nobody slips."""
    env = FrozenLakeEnv(desc=generate_random_map(size, seed=seed), is_slippery=False)
    return gymnasium.wrappers.TimeLimit(env, 4 * size * size)
