"""One error type per cause; each knows what is wrong, what to do about it, and the exit code it means."""

from __future__ import annotations


class DistpgError(Exception):
    """Something a user can act on.

    Args:
        message: What is wrong, in one line.
        hint: What to do, in one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        # Both go to Exception so that the error survives the trip from a runner's process.
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


# Characters that are shown, and that are kept in a run's events.
_MAX_SHOWN, MAX_KEPT = 2_000, 64_000


def in_words(error: BaseException, limit: int = _MAX_SHOWN) -> str:
    """An exception's type and text in a line of at most so many characters, whatever its own ``str`` does."""
    try:
        text = " ".join(str(error).split())
    except BaseException as fault:  # an exception of a user's own code may fail at this as well
        text = f"(its text cannot be had: {type(fault).__name__})"
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return shortened(line, limit)


def shortened(text: str, limit: int = _MAX_SHOWN) -> str:
    """A text as it is shown: without its middle where it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    end = limit // 4
    return f"{text[: limit - end]}… ({len(text):,} characters) …{text[-end:]}"


class ConfigError(DistpgError):
    """An option, a config file or a combination of options is wrong."""

    exit_code = 2


class EnvironmentIdError(ConfigError):
    """The environment is not there, or has spaces that no policy supports."""


class RunDirectoryError(ConfigError):
    """A run directory is missing, is in use, or lacks a file."""


class CheckpointError(ConfigError):
    """A checkpoint is missing, damaged (``is_damage``), or not of this version."""

    def __init__(self, message: str, hint: str, is_damage: bool = True) -> None:
        super().__init__(message, hint)
        self.is_damage = is_damage


# The number of an episode that no training plays.
OF_EVALUATION = -1


class EpisodeError(DistpgError):
    """An environment failed in ``episode``; the same episode fails again wherever it is played."""

    def __init__(self, message: str, hint: str, episode: int) -> None:
        super().__init__(message, hint)
        # All three, so that the error can be made again from them in another process.
        self.args = (message, hint, episode)
        self.episode = episode


class DivergenceError(DistpgError):
    """A number of the learner is not finite any more."""


class ReplayError(DistpgError):
    """An episode played again is not as it was recorded."""


class RenderError(DistpgError):
    """An environment cannot be drawn."""


class EnvRunnersError(DistpgError):
    """No runner is left to do the work."""


class ClusterError(DistpgError):
    """Ray could not be started or reached."""


class StorageError(DistpgError):
    """The run directory cannot be written any more."""
