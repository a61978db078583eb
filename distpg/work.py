"""A task that is not finished, and what speaks for and against it."""

from __future__ import annotations

from dataclasses import dataclass, field

from distpg.env_runners import Task
from distpg.messages import RunnerId

# So often deaths are put down to a bad day.
_MAX_ACQUITTALS = 5


@dataclass
class Work:
    """A task that is not finished.

    Attributes:
        deaths_before: Deaths of all runners before this task's first one.
        acquittals: How often its deaths were put down to a bad day.
        failed_on: Runners on which an episode of it failed.
        answer: Digest of the first answer, and who gave it.
        holders: Runners that work on it.
        parent: The task whose killing episode this one is played to find.
        parts: Such episodes still out, for the parent.
    """

    deaths: int = 0
    deaths_before: int = 0
    acquittals: int = 0
    failed_on: set[RunnerId] = field(default_factory=set)
    is_alone: bool = False
    was_searched: bool = False
    answer: tuple[str, RunnerId] | None = None
    needs_second: bool = False
    holders: set[RunnerId] = field(default_factory=set)
    parent: Task | None = None
    parts: set[Task] = field(default_factory=set)

    def note_death(self, deaths_before: int) -> None:
        """A runner that worked on it is gone; so many of all had gone before."""
        if self.deaths == 0:
            self.deaths_before = deaths_before
        self.deaths += 1
        self.is_alone = True

    def is_guilty(self, all_deaths: int, limit: int) -> bool:
        """Whether its own deaths are too many, and most of all since its first.

        Where machines are taken away all the time, a long task is hit again and again by no fault of its own.
        """
        if self.deaths < limit:
            return False
        others = all_deaths - self.deaths_before - self.deaths
        if 2 * others >= self.deaths and self.acquittals < _MAX_ACQUITTALS:
            self.acquittals += 1
            self.deaths = 0
        return self.deaths > 0
