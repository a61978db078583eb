"""What a machine's arithmetic and environments yield, in two digests: equal where results are equal."""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from distpg.core.episodes import EpisodeBatch, batch_digest
from distpg.core.policies import PolicySpec, Weights
from distpg.core.seeding import Stream, uniform, words
from distpg.core.tasks import Task
from distpg.environments.envs import close_env, make_env
from distpg.environments.trace import play
from distpg.learning.passes import Fit, Question, Wanted
from distpg.sampling.compiled_policy import Steps
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.module_policy import first_weights, new_policy
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.sampling.second_pass import SecondPass
from distpg.system.generators import generators_kept, seed_generators

_SEED = 0
_ROWS = 64


class Fingerprint(NamedTuple):
    """Of a process: two that differ need not play the same episodes."""

    numerics: str
    """Digest of the policy's choices and their log-probabilities for fixed inputs; of the compiled sampler of
    episodes that it plays; and of a gradient, where runners compute it."""
    environment: str
    """Of the trial steps under fixed actions; of what is no function of seed and actions another."""


def fingerprint(spec: EnvRunnerSpec, on_step: Callable[[], None] = lambda: None) -> Fingerprint:
    """The fingerprint of this process for such runners; raises EnvironmentIdError as :func:`make_env`."""
    # Else what draws from them would seem to repeat itself here, and be another's elsewhere.
    if spec.sampler == "compiled":  # the environment is part of the arithmetic
        return Fingerprint(numerics_digest(spec, on_step), "compiled")
    kept = generators_kept() if spec.env_reuse == "seeded" else contextlib.nullcontext()
    with kept:
        return Fingerprint(numerics_digest(spec), _environment_digest(spec, on_step))


def _compiled_digest(spec: EnvRunnerSpec, on_step: Callable[[], None]) -> str:
    """Of a task's episodes, played as in training; with what it takes to compile that."""
    batch = EnvRunner(replace(spec, seed=_SEED)).sample(Task(0, _ROWS, 0), _some_weights(spec.policy))
    on_step()
    return batch_digest(batch)


def _some_weights(policy: PolicySpec) -> Weights:
    weights = first_weights(policy, _SEED)
    if policy.normalisation == "running":  # nothing of the observation would count
        weights["observations.scale"][:] = 1
    return weights


def numerics_digest(spec: EnvRunnerSpec, on_step: Callable[[], None] = lambda: None) -> str:
    """As in :class:`Fingerprint`."""
    is_compiled = spec.sampler == "compiled"
    digest = _compiled_digest(spec, on_step) if is_compiled else _choices_digest(spec.policy)
    if spec.passes is None:
        return digest
    return hashlib.sha256((digest + _gradient_digest(spec, spec.passes)).encode()).hexdigest()


def _gradient_digest(spec: EnvRunnerSpec, wanted: Wanted) -> str:
    """Of the sums that this process gives for fixed steps."""
    policy = spec.policy
    numbers = uniform(words(_SEED, Stream.ACTION, np.arange(_ROWS), 0, policy.observation_size))
    chosen = numbers[:, :1] * np.array(policy.action_sizes)
    actions = chosen.astype(policy.action_dtype) if policy.is_categorical else chosen.astype(np.float32)
    batch = EpisodeBatch(
        observations=4 * numbers - 2,
        actions=actions[:, 0] if policy.has_single_actions else actions,
        returns=numbers[:, 0].copy(),
        lengths=np.array([_ROWS], np.int32),
        episode_ids=np.zeros(1, np.int64),
        episode_returns=np.zeros(1),
        terminated=np.ones(1, np.bool_),
        weights_seq_no=0,
    )
    fit = Fit("none", 1, 0.0, _ROWS, np.zeros(0))
    question = Question(_some_weights(policy), fit)
    second = SecondPass(policy, wanted, has_masks=False, seed=_SEED)
    sums = second.answer(Task(0, 1, 0), question, lambda task: batch)
    return sums.digest


def _choices_digest(policy: PolicySpec) -> str:
    """Of the policy's choices for fixed inputs."""
    player = new_policy(policy, _SEED)
    player.load(_some_weights(policy))
    numbers = uniform(words(_SEED, Stream.ACTION, np.arange(_ROWS), 0, policy.observation_size))
    room = (_ROWS, 1, len(policy.action_sizes))
    dtype = np.int64 if policy.is_categorical else np.float32
    steps = Steps(
        np.ascontiguousarray((4 * numbers - 2)[:, None, :]),
        np.empty(room, dtype),
        np.empty((_ROWS, 1), np.float32),
    )
    player.act(
        steps,
        np.empty((_ROWS, room[-1]), dtype),
        np.empty((_ROWS, room[-1], 4), np.uint32),
        np.arange(_ROWS),
        0,
        0,
        np.array([_SEED, Stream.ACTION, 0, 0], np.uint64),
    )
    return hashlib.sha256(steps.actions.tobytes() + steps.log_probs.tobytes()).hexdigest()


def _environment_digest(spec: EnvRunnerSpec, on_step: Callable[[], None]) -> str:
    """A new environment for each episode, so that what survives a reset does not count."""

    def count() -> bool:
        on_step()
        return False

    digest, steps = hashlib.sha256(), 0
    for number in range(spec.trial_episodes):  # an exception may end each at its reset, after no step
        if steps < spec.trial_steps:
            if spec.env_reuse == "seeded":
                seed_generators(_SEED)
            env = make_env(spec.env)
            count()
            steps += len(play(env, number, digest, spec.trial_steps - steps, count)) - 1
            close_env(env)
    return digest.hexdigest()
