"""What decides a process's bits beside a run's options, and whether it changed since a checkpoint."""

import hashlib
import sys
from collections.abc import Callable, Mapping

import numpy as np

from distpg.config.train_config import TrainConfig
from distpg.core.policies import PolicySpec, preferences
from distpg.core.seeding import Stream, uniform, words
from distpg.sampling.fingerprint import numerics_digest
from distpg.sampling.module_policy import first_weights
from distpg.sampling.runner_spec import env_runner_spec
from distpg.system.garbage import load
from distpg.system.version import installed_version

_SEED = 0
_ROWS = 64


def platform_of(
    config: TrainConfig, policy: PolicySpec, before_gradient: Callable[[], object] = lambda: None
) -> dict[str, str | None]:
    """What decides this process's bits, beside a run's options: versions and digests of its arithmetic.

    ``numerics`` is the runners' part, as in :class:`Fingerprint`; ``learner`` is the gradient's: torch's
    kernels are not the same on all kinds of CPU.
    """
    packages = ("distpg", "torch", "numpy", "gymnasium")
    digests = {"numerics": numerics_digest(env_runner_spec(config, policy))}
    before_gradient()
    digests["learner"] = _learner_digest(config, policy)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return digests | {"python": python} | {name: installed_version(name) for name in packages}


def _learner_digest(config: TrainConfig, policy: PolicySpec) -> str:
    """Of a policy's log-probabilities for fixed inputs, and of a product as large as a gradient's.

    Of the compiled gradient, which is the same on every CPU, for fixed steps.
    """
    numbers = uniform(words(_SEED, Stream.ACTION, np.arange(_ROWS), 0, policy.num_features))
    inputs, first = 4 * numbers - 2, first_weights(policy, _SEED)
    if config.sampler == "compiled":
        from distpg.learning.compiled_gradient import CompiledGradient

        observations = inputs[:, : policy.observation_size].copy()
        actions = np.arange(_ROWS).astype(policy.action_dtype) % policy.action_sizes[0]
        compiled = CompiledGradient(policy)
        flat, *_, before = compiled.differentiate(first, observations, actions, inputs[:, 0].copy())
        apart = compiled.divergence(before, first_weights(policy, _SEED + 1), observations)
        return hashlib.sha256(np.append(flat, apart).tobytes()).hexdigest()
    load("torch")
    import torch  # by the learner's process alone

    from distpg.learning.settings import own_settings

    with own_settings():
        weights = {name: torch.tensor(w) for name, w in first.items()}
        rows = torch.tensor(inputs)
        if policy.module:
            from distpg.learning.modules import new_module

            with torch.no_grad():
                outputs = new_module(policy, _SEED)(rows.reshape(_ROWS, *policy.observation_shape))
        else:
            outputs = preferences(weights, rows)
        log_pi = torch.log_softmax(outputs, dim=1)
        return hashlib.sha256(log_pi.numpy().tobytes() + (log_pi.T @ rows).numpy().tobytes()).hexdigest()


def platform_change(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> str | None:
    """Why a run that goes on here may go on with other bits; None if nothing speaks for it."""
    words = [
        "another kind of CPU or its kernels"
        if name in ("numerics", "learner")
        else f"{name} {before[name]} before, {value} now"
        for name, value in now.items()
        if before.get(name, value) != value  # an earlier version did not name all
    ]
    return f"resumed with {'; '.join(words)}" if words else None
