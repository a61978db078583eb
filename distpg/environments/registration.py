"""Whether other processes know an environment by its id, or only the one whose script registered it."""

import inspect
import subprocess
import sys

import gymnasium.envs

from distpg.config.given import Given
from distpg.environments import sleep_env
from distpg.environments.envs import Origin
from distpg.errors import ConfigError

_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
import gymnasium
sys.exit(0 if sys.argv[1] in gymnasium.registry else 3)
"""
_TIMEOUT_S = 60.0
UNCHECKED = "the calling script alone registers it, which the processes that check it do not run"


def is_registered_here_alone(env_id: str, origin: Origin) -> bool:
    """Whether a new process, which imports Gymnasium and the module that the id names, does not have it."""
    if isinstance(env_id, Given):
        return False  # it goes wherever it is needed
    module, colon, _ = env_id.rpartition(":")
    if colon:
        return module == "__main__"
    if origin.registered_id in (None, sleep_env.ENV_ID):
        return False
    # Gymnasium's own are written out one by one in the module that registers them.
    if f'"{origin.registered_id}"' in inspect.getsource(gymnasium.envs):
        return False
    # Packages register theirs by entry points, which Gymnasium loads as it is imported.
    command = [sys.executable, "-c", _PROGRAM, origin.registered_id, *sys.path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S)
        return done.returncode == 3
    except (OSError, subprocess.TimeoutExpired):
        return False


def not_for_runners(env_id: str) -> ConfigError:
    """The error of an environment that runners would not know."""
    name = env_id.rpartition(":")[2]
    return ConfigError(
        f"{env_id} is registered by the calling script alone, and runners do not run that",
        f"Register it in a module and write module:{name}, or collect here: --num-env-runners 0.",
    )
