"""Which iterations runners may play while the learner waits for one: policy lag, out of the loop's sight."""

from __future__ import annotations

from collections.abc import Sequence

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import Weights
from distpg.sampling.env_runner import plan
from distpg.sampling.group import EnvRunnerGroup


class Collector:
    """Hands the runners every iteration whose weights exist, and collects one after the other.

    With a policy lag of k up to k + 1 iterations are in flight, the oldest first: a long episode delays only
    the update that needs it. What is in flight when training stops is nobody's.

    Args:
        iteration: The first one to collect.
        earlier: The weights of updates before it that are still to be played with, oldest first.
    """

    def __init__(
        self,
        config: TrainConfig,
        runners: EnvRunnerGroup,
        iteration: int = 0,
        earlier: Sequence[Weights] = (),
    ) -> None:
        self._config = config
        self._runners = runners
        self._next = iteration
        self._weights = dict(enumerate(earlier, iteration - len(earlier)))

    def collect(self, iteration: int, weights: Weights) -> EpisodeBatch:
        """The episodes of an iteration, each exactly once.

        Args:
            weights: After ``iteration`` updates.

        Raises:
            EpisodeError: An environment failed in one of them.
            EnvRunnersError: No runner is left.
        """
        self._weights[iteration] = weights
        limit = self._config.max_iterations
        while limit is None or self._next < limit:
            tasks = plan(self._config, self._next)
            needed = tasks[0].weights_seq_no
            if needed > iteration:
                break
            self._runners.add(tasks, self._weights[needed])
            self._next += 1
            for outdated in [number for number in self._weights if number < needed]:
                del self._weights[outdated]
        return self._runners.collect(plan(self._config, iteration))
