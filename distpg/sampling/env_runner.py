"""EnvRunner turns a task and weights into complete episodes with their returns."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch, batch_digest
from distpg.core.policies import PolicySpec, Weights
from distpg.core.returns import Returns, discounted_returns
from distpg.core.tasks import Task
from distpg.environments.envs import EnvSpec, env_spec
from distpg.errors import EpisodeError
from distpg.kernels.compile_cache import do_without_cache
from distpg.sampling.gymnasium_sampler import GymnasiumSampler


@dataclass(frozen=True)
class EnvRunnerSpec:
    """Everything a runner is made from; small and plain, so that it can be sent to another process.

    ``log_probs`` and ``rewards`` say whether batches hold them. To show that it plays as others do, a runner
    makes ``trial_steps`` in ``trial_episodes``, at most: fewer where they take long.
    """

    env: EnvSpec
    policy: PolicySpec
    seed: int
    gamma: float
    returns: Returns
    env_reuse: str = "always"
    compile_cache: bool = True
    log_probs: bool = False
    rewards: bool = False
    trial_steps: int = 200
    trial_episodes: int = 200


def env_runner_spec(
    config: TrainConfig, policy: PolicySpec, log_probs: bool = False, rewards: bool = False
) -> EnvRunnerSpec:
    """The part of a configuration that decides what an episode is, and what is told of it."""
    return EnvRunnerSpec(
        env_spec(config),
        policy,
        config.seed,
        config.gamma,
        config.returns,
        config.env_reuse,
        config.compile_cache,
        log_probs=log_probs or config.policy_lag > 0,  # the loss weights lagged steps by their ratio
        rewards=rewards,
    )


@dataclass(frozen=True)
class Answer:
    """What came of a call, its steps and seconds: each task's batch and digest, or why an episode failed."""

    outcomes: list[EpisodeBatch | EpisodeError]
    digests: tuple[str | None, ...]
    seconds: float
    steps: int


class EnvRunner:
    """Plays tasks. ``sample`` is a pure function: any runner may do any task, twice if need be."""

    def __init__(self, spec: EnvRunnerSpec) -> None:
        self._spec = spec
        if not spec.compile_cache:
            do_without_cache()
        self._sampler = GymnasiumSampler(
            spec.env, spec.policy, spec.seed, env_reuse=spec.env_reuse, log_probs=spec.log_probs
        )

    def sample(self, task: Task, weights: Weights) -> EpisodeBatch:
        """The task's episodes with their returns; raises EpisodeError where the environment fails."""
        self.load(weights)
        return self.play(task)

    def load(self, weights: Weights) -> None:
        """Play with these from now on."""
        self._sampler.load(weights)

    def play(self, task: Task) -> EpisodeBatch:
        """As :meth:`sample`, with the weights that were loaded last."""
        played = self._sampler.sample(task.first_episode, task.num_episodes)
        returns = discounted_returns(played.rewards, played.lengths, self._spec.gamma, self._spec.returns)
        with np.errstate(over="ignore"):
            returns32 = returns.astype(np.float32)
        ids = np.arange(task.first_episode, task.first_episode + task.num_episodes, dtype=np.int64)
        if not (finite := np.isfinite(returns32)).all():
            episode = int(np.repeat(ids, played.lengths)[~finite][0])
            raise EpisodeError(
                f"{self._spec.env.env_id} gave rewards in episode {episode} too large for float32",
                "Scale the rewards down.",
                episode,
            )
        return EpisodeBatch(
            observations=played.observations,
            actions=played.actions,
            returns=returns32,
            lengths=played.lengths,
            episode_ids=ids,
            episode_returns=played.episode_returns,
            terminated=played.terminated,
            weights_seq_no=task.weights_seq_no,
            log_probs=played.log_probs,
            rewards=played.rewards.astype(np.float32) if self._spec.rewards else None,
        )

    def answer(self, tasks: Sequence[Task]) -> Answer:
        """Play several tasks in one call. An episode that fails fails its own task only."""
        start, steps = time.perf_counter(), self.steps
        outcomes: list[EpisodeBatch | EpisodeError] = []
        for task in tasks:
            try:
                outcomes.append(self.play(task))
            except EpisodeError as error:
                outcomes.append(error)
        digests = tuple(batch_digest(o) if isinstance(o, EpisodeBatch) else None for o in outcomes)
        return Answer(outcomes, digests, time.perf_counter() - start, self.steps - steps)

    @property
    def steps(self) -> int:
        """Environment steps and resets so far; another thread may ask, to see whether any are made."""
        return self._sampler.steps

    def stop(self) -> None:
        """Nobody wants what is being played; another thread may say so. It ends in a StoppedError."""
        self._sampler.is_to_stop = True

    def close(self) -> str | None:
        """Release the environments; what went wrong, if anything did."""
        return self._sampler.close()
