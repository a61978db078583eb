"""Why an environment failed in an episode, in words for whoever wrote it."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from distpg.core.episodes import episode_starts
from distpg.environments.envs import RUNAWAY_STEPS
from distpg.errors import MAX_KEPT, OF_EVALUATION, DistpgError, EnvironmentIdError, EpisodeError, in_words

_AS_IT_FAILS = "The episode's reset seed is {}: it fails the same way wherever it is played."
_ACTIONS_ARE_INTS = " (actions are Python integers: the environment may call numpy.int64(action) first)"


class StoppedError(Exception):
    """Nobody wants the episodes any more that were being played."""


def failure(
    env_id: str, error: BaseException, episode: int, t: int, reset_seed: int, is_evaluation: bool = False
) -> DistpgError:
    """What to say of an exception in step ``t`` of an episode, of the run or of an evaluation."""
    if isinstance(error, DistpgError):
        return error
    cause = in_words(error, MAX_KEPT)
    if isinstance(error, gymnasium.error.DependencyNotInstalled):
        # Environments import what draws them when they are first drawn.
        return EnvironmentIdError(f"{env_id} lacks a package: {cause}", "Install it, then try again.")
    if isinstance(error, AttributeError) and "'int' object has no attribute" in cause:
        cause += _ACTIONS_ARE_INTS
    hint = _AS_IT_FAILS.format(reset_seed)
    which = f"evaluation episode {episode}" if is_evaluation else f"episode {episode}"
    number = OF_EVALUATION if is_evaluation else episode
    return EpisodeError(f"{env_id} failed in {which}, step {t}: {cause}", hint, number)


def runaway(env_id: str, episode: int, is_evaluation: bool) -> EpisodeError:
    """The error of an episode that does not end, and that nothing ends."""
    which = f"evaluation episode {episode}" if is_evaluation else f"episode {episode}"
    return EpisodeError(
        f"{env_id} has not ended {which} after {RUNAWAY_STEPS:,} steps, and has no limit of them: "
        "give it one with --max-episode-steps",
        "Only complete episodes are counted.",
        OF_EVALUATION if is_evaluation else episode,
    )


def first_not_finite(rewards: NDArray[np.float64], lengths: NDArray[np.int32]) -> tuple[int, int, Any] | None:
    """The first such reward, of float64[N] in episodes int32[E]: the episode's index, the step, itself."""
    if np.isfinite(rewards).all():
        return None
    row = int((~np.isfinite(rewards)).argmax())
    starts = episode_starts(lengths)
    index = int(np.searchsorted(starts, row, side="right")) - 1
    return index, row - int(starts[index]), rewards[row]
