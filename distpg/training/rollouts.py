"""Collection for any learner: whole episodes, each exactly once, in order, at any number of runners."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.events import Event, OnEvent
from distpg.core.policies import PolicySpec, Weights, initial_weights, weight_shapes
from distpg.sampling.env_runner import env_runner_spec
from distpg.sampling.group import EnvRunnerGroup, Ticket
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_address
from distpg.training.prepare import Prepared, prepare
from distpg.training.runners import env_runners, plan


class Rollouts:
    """Runners of a configuration, which play one iteration after the other.

    With a policy lag of k up to k + 1 iterations are in flight, the oldest first: a long episode delays only
    the update that needs it. What is in flight at the end is nobody's.

    Args:
        doubts: Reasons, the first first, why the same configuration and seed need not give the same episodes;
            it grows while they are played.
        iteration: The first one to collect.
        earlier: The weights of updates before it that are still to be played with, oldest first.
        check_interrupts: Raises KeyboardInterrupt where an environment swallowed it.

    Attributes:
        config: As resolved, with the number of runners.
        policy: The shape of the policy that the runners play with.
    """

    def __init__(
        self,
        config: TrainConfig,
        policy: PolicySpec,
        group: EnvRunnerGroup,
        doubts: Sequence[str] = (),
        iteration: int = 0,
        earlier: Sequence[Weights] = (),
        check_interrupts: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._check_interrupts = check_interrupts
        self.policy = policy
        self.group = group
        self._doubts = doubts
        self._iteration = self._next = iteration
        self._weights = dict(enumerate(earlier, iteration - len(earlier)))
        self._tickets: list[Ticket] = []
        self._shapes = weight_shapes(policy.layer_sizes)

    @property
    def why_not_reproducible(self) -> str | None:
        """Why the same configuration and seed need not give the same episodes; None as far as is known."""
        return self._doubts[0] if self._doubts else None

    @property
    def initial_weights(self) -> Weights:
        """What the configuration's seed begins with: ``layers.<i>.weight`` and ``.bias``, float32."""
        return initial_weights(self.policy.layer_sizes, self.config.seed)

    def collect(self, iteration: int, weights: Weights) -> EpisodeBatch:
        """The episodes of an iteration, each exactly once and in order, to be called for one after the other.

        Args:
            iteration: From 0.
            weights: After so many updates, named and shaped as the initial ones, float32. Changing them in
                place afterwards changes nothing that is played.

        Raises:
            ValueError: Another iteration is next, or these are no weights of this policy.
            EpisodeError: The environment failed in one of them.
            EnvRunnersError: No runner is left.
            KeyboardInterrupt: SIGINT or SIGTERM.
        """
        if iteration != self._iteration:
            raise ValueError(f"iteration {self._iteration} is next, not {iteration}")
        if self._shapes != {name: array.shape for name, array in weights.items() if array.dtype == "f4"}:
            raise ValueError(f"weights must be float32 arrays of these shapes: {self._shapes}")
        # Those of a policy that lags are played with later, when a learner may have changed them in place.
        if self.config.policy_lag > 0:
            weights = {name: array.copy() for name, array in weights.items()}
        self._weights[iteration] = weights
        limit = self.config.max_iterations
        while not self._tickets or limit is None or self._next < limit:
            tasks = plan(self.config, self._next)
            needed = tasks[0].weights_seq_no
            if needed > iteration:
                break
            self._tickets.append(self.group.add(tasks, self._weights[needed]))
            self._next += 1
            for outdated in [number for number in self._weights if number < needed]:
                del self._weights[outdated]
        batch = self.group.collect(self._tickets.pop(0))
        self._check_interrupts()
        self._iteration += 1
        return batch


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
        log_probs: Whether batches hold the log-probabilities of their actions, and rewards: their rewards.
        on_event: Told of what happens to runners, and of warnings.

    Raises:
        ConfigError: The configuration cannot work; nothing was started.
        DistpgError: The runners could not be started.
    """
    prepared = prepare(config)
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
    run: str | None = None,
    log_probs: bool = False,
    rewards: bool = False,
) -> Iterator[Rollouts]:
    """The runners of a prepared configuration, from an iteration on.

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
    with env_runners(prepared.config, spec, prepared.look, interrupts, tell, not doubts, run) as (now, group):
        yield Rollouts(now, prepared.policy, group, doubts, iteration, earlier, interrupts.check)
