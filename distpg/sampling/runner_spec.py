"""Everything that an EnvRunner is made from."""

from dataclasses import dataclass

from distpg.config.train_config import TrainConfig
from distpg.core.policies import PolicySpec
from distpg.core.returns import Returns
from distpg.environments.making import EnvSpec, env_spec
from distpg.learning.passes import Wanted, wanted_by


@dataclass(frozen=True)
class EnvRunnerSpec:
    """Everything a runner is made from; small and plain, so that it can be sent to another process.

    ``log_probs``, ``rewards`` and ``finals``, final observations, say whether batches hold them. To show that
    it plays as others do, a runner makes ``trial_steps`` in ``trial_episodes``, or fewer where they are slow.
    ``sampler`` is ``gymnasium`` or ``compiled``. ``passes`` says what the learner wants to know of episodes
    that stay with runners; None: it wants the episodes.
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
    finals: bool = False
    trial_steps: int = 200
    trial_episodes: int = 200
    sampler: str = "gymnasium"
    passes: Wanted | None = None


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
        rewards=rewards or config.gae_lambda is not None,
        finals=config.gae_lambda is not None,
        sampler=config.sampler,
        passes=wanted_by(config) if config.gradients == "runners" else None,
    )
