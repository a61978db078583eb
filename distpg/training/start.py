"""Runners for a while: those of a training, and of a learner of the caller's own."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from distpg.config.train_config import TrainConfig
from distpg.core.events import Compiling, Event, OnEvent
from distpg.core.policies import Weights
from distpg.environments.making import env_spec
from distpg.errors import ConfigError
from distpg.learning.compiled_beside import gradient_compiled_beside
from distpg.sampling.compiled_sampler import has_to_compile
from distpg.sampling.runner_spec import env_runner_spec
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_address
from distpg.training.prepare import Prepared, prepare
from distpg.training.rollouts import Rollouts
from distpg.training.runners import env_runners


def compiling(prepared: Prepared, tell: OnEvent) -> contextlib.AbstractContextManager[Callable[[], object]]:
    """Says where a start has to compile first; what it gives is to be called before a gradient is needed."""
    config = prepared.config
    is_new = config.sampler == "compiled" and has_to_compile(env_spec(config), prepared.policy)
    if is_new:
        tell(Compiling(str(config.env_id)))
    return gradient_compiled_beside(is_new)


@contextlib.contextmanager
def rollouts(
    config: TrainConfig,
    *,
    log_probs: bool = False,
    rewards: bool = False,
    on_event: OnEvent = lambda event: None,
) -> Iterator[Rollouts]:
    """Collect whole episodes for a learner of your own, with every promise that ``train`` gives.

    ::

        with distpg.rollouts(TrainConfig(num_env_runners=4, episodes_per_iteration=64)) as runners:
            weights = runners.initial_weights
            for iteration in range(100):
                batch = runners.collect(iteration, weights)
                weights = my_update(weights, batch)

    Args:
        config: Observations are as they are where ``normalise_observations`` is ``auto``, unless their bounds
            scale them; with ``running`` it is the learner who keeps ``observations.mean`` and ``.scale``.
        log_probs: Whether batches hold the log-probabilities of their actions, and rewards: their rewards.
        on_event: Told of what happens to runners, and of warnings.

    Raises:
        ConfigError: The configuration cannot work; nothing was started.
        DistpgError: The runners could not be started.
    """
    if config.gradients != "learner":
        raise ConfigError(
            "--gradients runners is for distpg's own learner: this one gets whole episodes",
            "Leave gradients out.",
        )
    prepared = prepare(config)
    if config.normalise_observations == "auto" and prepared.policy.normalisation == "running":
        # It is the learner who knows what was seen.
        prepared = prepare(replace(config, normalise_observations="none"), prepared.look)
    check_address(prepared.config)
    for event in prepared.events:
        on_event(event)
    with (
        Interrupts() as interrupts,
        started(
            prepared, interrupts, on_event, prepared.why_not, log_probs=log_probs, rewards=rewards
        ) as runners,
    ):
        yield runners


@contextlib.contextmanager
def started(
    prepared: Prepared,
    interrupts: Interrupts,
    on_event: OnEvent,
    why_not_reproducible: str | None,
    iteration: int = 0,
    earlier: Sequence[Weights] = (),
    log_probs: bool = False,
    rewards: bool = False,
) -> Iterator[Rollouts]:
    """The runners of a prepared configuration, from an iteration on; the rest is as of :func:`starting`."""
    with starting(
        prepared, interrupts, on_event, why_not_reproducible, log_probs=log_probs, rewards=rewards
    ) as ready:
        yield ready(iteration, earlier)


@contextlib.contextmanager
def starting(
    prepared: Prepared,
    interrupts: Interrupts,
    on_event: OnEvent,
    why_not_reproducible: str | None,
    run: str | None = None,
    log_probs: bool = False,
    rewards: bool = False,
) -> Iterator[Callable[[int, Sequence[Weights]], Rollouts]]:
    """The runners of a prepared configuration while they start: a function that waits for enough of them.

    It takes the first iteration to collect, and the weights of updates before that are still to be played
    with, oldest first.

    Args:
        why_not_reproducible: What is known so far.
        run: Its name in a cluster's metrics; None: it is in none.
    """
    doubts = [] if why_not_reproducible is None else [why_not_reproducible]

    def tell(event: Event) -> None:
        if event.why_not is not None:
            doubts.append(event.why_not)
        on_event(event)

    spec = env_runner_spec(prepared.config, prepared.policy, log_probs, rewards)
    begun = env_runners(prepared.config, spec, prepared.look, interrupts, tell, not doubts, run)
    with begun as (config, group, wait):

        def ready(iteration: int, earlier: Sequence[Weights]) -> Rollouts:
            wait()
            return Rollouts(config, prepared.policy, group, doubts, iteration, earlier, interrupts.check)

        yield ready
