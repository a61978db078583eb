"""What a machine's arithmetic and environments yield, in two digests: equal where results are equal."""

import contextlib
import hashlib
from dataclasses import dataclass
from platform import python_version

import numpy as np

from distpg.core.policies import PolicySpec, initial_weights
from distpg.core.seeding import Stream, uniform, words
from distpg.environments.envs import make_env
from distpg.environments.trace import play
from distpg.sampling.compiled_policy import CompiledPolicy, Steps
from distpg.sampling.env_runner import EnvRunnerSpec
from distpg.system.version import __version__

_SEED = 0
_ROWS = 64
_ENV_STEPS = 200


@dataclass(frozen=True)
class Fingerprint:
    """Of a process: two that differ in ``numerics`` or ``environment`` need not play the same episodes."""

    numerics: str
    """Digest of the policy's choices and their log-probabilities for fixed inputs."""
    environment: str
    """Of 200 steps under fixed actions; of what is no function of seed and actions, another each time."""
    distpg: str
    python: str
    numpy: str


def fingerprint(spec: EnvRunnerSpec) -> Fingerprint:
    """The fingerprint of this process for such runners; raises EnvironmentIdError as :func:`make_env`."""
    return Fingerprint(
        numerics=numerics_digest(spec.policy),
        environment=_environment(spec),
        distpg=__version__,
        python=python_version(),
        numpy=np.__version__,
    )


def numerics_digest(policy: PolicySpec) -> str:
    """As in :class:`Fingerprint`."""
    weights = initial_weights(policy.layer_sizes, _SEED)
    compiled = CompiledPolicy(policy)
    compiled.load(weights)
    numbers = uniform(words(_SEED, Stream.ACTION, np.arange(_ROWS), 0, policy.observation_size))
    steps = Steps(
        np.ascontiguousarray((4 * numbers - 2)[:, None, :]),
        np.empty((_ROWS, 1), np.int64),
        np.empty((_ROWS, 1), np.float32),
    )
    compiled.act(
        steps,
        np.empty(_ROWS, np.int64),
        np.empty((_ROWS, 4), np.uint32),
        np.arange(_ROWS),
        0,
        np.array([_SEED, Stream.ACTION, 0, 0], np.uint64),
    )
    return hashlib.sha256(steps.actions.tobytes() + steps.log_probs.tobytes()).hexdigest()


def _environment(spec: EnvRunnerSpec) -> str:
    """A new environment for each episode, so that what survives a reset does not count."""
    digest = hashlib.sha256()
    steps = 0
    for number in range(_ENV_STEPS):  # an exception may end each at its reset, after no step
        if steps < _ENV_STEPS:
            with contextlib.closing(make_env(spec.env)) as env:
                steps += len(play(env, number, digest, _ENV_STEPS - steps)) - 1
    return digest.hexdigest()
