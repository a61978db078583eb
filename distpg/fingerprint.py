"""What a machine's arithmetic and environments yield, in two digests: equal where results are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from platform import python_version

import numpy as np

from distpg.env_runners import EnvRunnerSpec
from distpg.env_trace import play
from distpg.envs import make_env
from distpg.policies import PolicySpec, features, initial_weights, preferences, softmax
from distpg.seeding import Stream, uniform, words
from distpg.version import __version__, installed_version

_SEED = 0
# Batches of 1 to 3 rows take other kernels than larger ones.
_BATCH_SIZES = (1, 2, 3, 4, 16, 64)
_ENV_STEPS = 200


@dataclass(frozen=True)
class Fingerprint:
    """Of a process: two that differ in ``numerics`` or ``environment`` need not play the same episodes.

    Attributes:
        numerics: Digest of the policy's features, preferences and probabilities for fixed inputs.
        environment: Digest of 200 steps of the environment under fixed actions. One that is not a function
            of seed and actions differs each time.
    """

    numerics: str
    environment: str
    distpg: str
    python: str
    numpy: str


def fingerprint(spec: EnvRunnerSpec) -> Fingerprint:
    """The fingerprint of this process for runners made from ``spec``; the same at each call.

    Raises:
        EnvironmentIdError: The environment cannot be made.
    """
    return Fingerprint(
        numerics=numerics_digest(spec.policy),
        environment=_environment(spec),
        distpg=__version__,
        python=python_version(),
        numpy=np.__version__,
    )


def numerics_digest(policy: PolicySpec) -> str:
    """As in :class:`Fingerprint`."""
    digest = hashlib.sha256()
    weights = initial_weights(policy.layer_sizes, _SEED)
    for size in _BATCH_SIZES:
        numbers = uniform(words(_SEED, Stream.ACTION, np.arange(size), 0, policy.observation_size))
        inputs = features(4 * numbers - 2, policy.degree)
        h = preferences(weights, inputs)
        for array in (inputs, h, softmax(h)):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _environment(spec: EnvRunnerSpec) -> str:
    """A new environment for each episode, so that what survives a reset does not count."""
    digest = hashlib.sha256()
    steps, number = 0, 0
    while steps < _ENV_STEPS and number < _ENV_STEPS:
        env = make_env(spec.env)
        try:
            # An exception may end an episode at its reset, after no step.
            steps += len(play(env, number, digest, _ENV_STEPS - steps)) - 1
        finally:
            env.close()
        number += 1
    return digest.hexdigest()


def platform_of(policy: PolicySpec) -> dict[str, str | None]:
    """What decides this process's bits, beside a run's options: versions, and :func:`numerics_digest`."""
    packages = ("distpg", "torch", "numpy", "gymnasium")
    return {"numerics": numerics_digest(policy)} | {name: installed_version(name) for name in packages}


def platform_change(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> str | None:
    """Why a run that goes on here may go on with other bits; None if nothing speaks for it."""
    changes = [name for name, value in now.items() if before.get(name) != value]
    if not changes:
        return None
    words = [
        "another kind of CPU or its kernels"
        if name == "numerics"
        else f"{name} {before.get(name)} before, {now[name]} now"
        for name in changes
    ]
    return f"resumed with {'; '.join(words)}"
