"""When a run ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from distpg.config.train_config import TrainConfig

RECENT_EPISODES = 100


@dataclass
class Progress:
    """Counters over a run's lifetime, and the returns of its last 100 episodes."""

    iterations: int = 0
    env_steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    recent_returns: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_EPISODES))

    def add(self, episode_returns: Iterable[float], env_steps: int, seconds: float) -> None:
        """Count one iteration."""
        returns = list(episode_returns)
        self.iterations += 1
        self.env_steps += env_steps
        self.seconds += seconds
        self.episodes += len(returns)
        self.recent_returns.extend(returns)

    @property
    def recent_return_mean(self) -> float:
        """Mean undiscounted return of the last 100 episodes, or of all while they are fewer."""
        return sum(self.recent_returns) / len(self.recent_returns)


@dataclass(frozen=True)
class Limits:
    """Return to reach, environment steps and iterations to use at most; None: no such limit."""

    stop_return: float | None
    max_env_steps: int | None
    max_iterations: int | None


def limits_of(config: TrainConfig) -> Limits:
    """The limits of a configuration whose ``auto`` values are resolved."""
    if config.stop_return == "auto" or config.max_env_steps == "auto":
        raise ValueError("the configuration is not resolved")
    return Limits(config.stop_return, config.max_env_steps, config.max_iterations)


def is_solved(progress: Progress, limits: Limits) -> bool:
    """Whether at least 100 episodes are done and the last 100 average at least the stop return."""
    if limits.stop_return is None or len(progress.recent_returns) < RECENT_EPISODES:
        return False
    return progress.recent_return_mean >= limits.stop_return


def is_at_limit(progress: Progress, limits: Limits) -> bool:
    """Whether the run has used up its environment steps or its iterations."""
    return _reached(progress.env_steps, limits.max_env_steps) or _reached(
        progress.iterations, limits.max_iterations
    )


def is_finished(progress: Progress, config: TrainConfig) -> bool:
    """Whether a run of this configuration has nothing left to do."""
    limits = limits_of(config)
    return is_solved(progress, limits) or is_at_limit(progress, limits)


def _reached(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit
