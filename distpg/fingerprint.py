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
from distpg.policies import PolicySpec, initial_weights, preferences
from distpg.samplers.compiled_policy import CompiledPolicy, Steps
from distpg.seeding import Stream, uniform, words
from distpg.version import __version__, installed_version

_SEED = 0
_ROWS = 64
_ENV_STEPS = 200


@dataclass(frozen=True)
class Fingerprint:
    """Of a process: two that differ in ``numerics`` or ``environment`` need not play the same episodes.

    Attributes:
        numerics: Digest of the policy's choices and their log-probabilities for fixed inputs.
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
    """What decides this process's bits, beside a run's options: versions and digests of its arithmetic.

    ``numerics`` is the runners' part, as in :class:`Fingerprint`; ``learner`` is torch's, whose kernels are
    not the same on all kinds of CPU.
    """
    packages = ("distpg", "torch", "numpy", "gymnasium")
    digests = {"numerics": numerics_digest(policy), "learner": _learner_digest(policy)}
    return digests | {name: installed_version(name) for name in packages}


def _learner_digest(policy: PolicySpec) -> str:
    """Of a policy's log-probabilities for fixed inputs, and of a product as large as a gradient's."""
    import torch  # by the learner's process alone

    weights = {name: torch.tensor(w) for name, w in initial_weights(policy.layer_sizes, _SEED).items()}
    numbers = uniform(words(_SEED, Stream.ACTION, np.arange(_ROWS), 0, policy.num_features))
    inputs = torch.tensor(4 * numbers - 2)
    log_pi = torch.log_softmax(preferences(weights, inputs), dim=1)
    return hashlib.sha256(log_pi.numpy().tobytes() + (log_pi.T @ inputs).numpy().tobytes()).hexdigest()


def platform_change(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> str | None:
    """Why a run that goes on here may go on with other bits; None if nothing speaks for it."""
    changes = [name for name, value in now.items() if before.get(name) != value]
    if not changes:
        return None
    words = [
        "another kind of CPU or its kernels"
        if name in ("numerics", "learner")
        else f"{name} {before.get(name)} before, {now[name]} now"
        for name in changes
    ]
    return f"resumed with {'; '.join(words)}"
