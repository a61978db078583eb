"""When a run ends."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from distpg.config.train_config import TrainConfig
from distpg.core.arithmetic import float_sum

RECENT_EPISODES = 100


@dataclass
class Progress:
    """Counters over a run's lifetime, and the returns of its last 100 episodes."""

    iterations: int = 0
    env_steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    recent_returns: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_EPISODES))
    evaluation_mean: float | None = None
    """Of the last evaluation: its mean return, if it was of the present weights."""
    best_evaluation_mean: float | None = None

    def add(self, episode_returns: Iterable[float], env_steps: int, seconds: float) -> None:
        """Count one iteration."""
        returns = list(episode_returns)
        self.iterations += 1
        self.env_steps += env_steps
        self.seconds += seconds
        self.episodes += len(returns)
        self.recent_returns.extend(returns)
        self.evaluation_mean = None

    def evaluated(self, mean: float) -> None:
        """Take note of the mean return of an evaluation of the present weights."""
        self.evaluation_mean = mean
        if self.best_evaluation_mean is None or mean > self.best_evaluation_mean:
            self.best_evaluation_mean = mean

    @property
    def is_best(self) -> bool:
        """Whether the present weights were evaluated, and none better."""
        return self.evaluation_mean is not None and self.evaluation_mean == self.best_evaluation_mean

    @property
    def recent_return_mean(self) -> float:
        """Mean undiscounted return of the last 100 episodes, or of all while they are fewer."""
        return float_sum(self.recent_returns) / len(self.recent_returns)


def is_solved(progress: Progress, config: TrainConfig) -> bool:
    """Whether at least 100 episodes are done and the last 100 average at least the stop return."""
    if config.stop_return is None or len(progress.recent_returns) < RECENT_EPISODES:
        return False
    return progress.recent_return_mean >= float(config.stop_return)


def is_finished(progress: Progress, config: TrainConfig) -> bool:
    """Whether a run is solved or has used up its steps or iterations; ``config`` has no ``auto`` left."""
    return (
        is_solved(progress, config)
        or (config.max_env_steps is not None and progress.env_steps >= int(config.max_env_steps))
        or (config.max_iterations is not None and progress.iterations >= config.max_iterations)
    )
