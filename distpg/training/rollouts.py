"""Collection for any learner: whole episodes, each exactly once, in order, at any number of runners."""

from collections.abc import Callable, Sequence

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, Weights
from distpg.core.tasks import tasks_of_iteration
from distpg.learning.passes import AtRunners, Gathered, Question, Sums
from distpg.sampling.group import EnvRunnerGroup, Ticket
from distpg.sampling.module_policy import first_weights
from distpg.training.runners import plan


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
        self._tickets: list[tuple[Ticket, Weights]] = []
        self._questions = 0
        self._shapes = policy.weight_shapes

    @property
    def why_not_reproducible(self) -> str | None:
        """Why the same configuration and seed need not give the same episodes; None as far as is known."""
        return self._doubts[0] if self._doubts else None

    @property
    def initial_weights(self) -> Weights:
        """What the configuration's seed begins with: ``layers.<i>.weight`` and ``.bias``, float32."""
        return first_weights(self.policy, self.config.seed)

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
        ticket, _ = self._take_on(iteration, weights)
        batch = self.group.collect(ticket)
        self._check_interrupts()
        self._iteration += 1
        return batch

    def play(self, iteration: int, weights: Weights) -> EpisodeBatch | AtRunners:
        """As :meth:`collect`; where gradients are the runners', their episodes stay with them."""
        if self.config.gradients == "learner":
            return self.collect(iteration, weights)
        ticket, played_with = self._take_on(iteration, weights)
        found = self.group.gather(ticket)
        self._check_interrupts()
        self._iteration += 1
        runners = found.runners

        def ask(question: Question) -> list[Sums]:
            nonlocal runners
            self._questions += 1
            tasks = [task._replace(question=self._questions) for task in ticket.tasks]
            answers = self.group.gather(self.group.add(tasks, played_with, question, runners))
            self._check_interrupts()
            runners = answers.runners  # who answered has the episodes now
            return answers.outcomes

        return AtRunners(Gathered(tuple(found.outcomes)), ask)

    def _take_on(self, iteration: int, weights: Weights) -> tuple[Ticket, Weights]:
        """Give the group all that may be played now; an iteration's ticket, and what plays it."""
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
            self._tickets.append((self.group.add(tasks, self._weights[needed]), self._weights[needed]))
            self._next += 1
            for outdated in [number for number in self._weights if number < needed]:
                del self._weights[outdated]
        return self._tickets.pop(0)

    def evaluate(self, number: int, num_episodes: int, weights: Weights) -> EpisodeBatch:
        """Episodes of evaluation number 0, 1, … with the most probable actions; without their steps.

        Raises as :meth:`collect`. The weights are those that the next iteration is collected with.
        """
        tasks = tasks_of_iteration(number, num_episodes, int(self.config.episodes_per_task), self._iteration)
        periodic = [task._replace(plays="periodic") for task in tasks]
        batch = self.group.collect(self.group.add(periodic, weights))
        self._check_interrupts()
        return batch
