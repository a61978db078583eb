"""One runner as its group knows it: its actor, what it works on, and what waits behind that."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from ray.exceptions import RayTaskError

from distpg.core.tasks import Task
from distpg.errors import DistpgError, EnvRunnersError
from distpg.on_ray.actor import encode


class Call(NamedTuple):
    """A call on its way: what Ray will give for it, its number, and its tasks."""

    reference: Any
    number: int
    tasks: tuple[Task, ...]


@dataclass(eq=False)
class RemoteRunner:
    """A runner that was started and is not gone.

    Attributes:
        call: What it works on; next_call: what waits behind that, and is looked at only then, so that its
            answers are taken in their order.
        steps_before: Environment steps of the calls before the present one.
    """

    number: int
    actor: Any
    call: Call | None = None
    next_call: Call | None = None
    steps_before: int = 0

    @property
    def first_episodes(self) -> tuple[int, ...]:
        """Of the tasks that it works on."""
        return () if self.call is None else tuple(task.first_episode for task in self.call.tasks)

    def send(self, number: int, tasks: tuple[Task, ...], weights: Any, ahead: bool) -> None:
        """A call, for now or for when the present one is done."""
        call = Call(self.actor.answer.remote(number, encode(tasks), weights), number, tasks)
        if ahead:
            self.next_call = call
        else:
            self.call = call

    def returned(self) -> tuple[Task, ...]:
        """The call came back; its tasks. The one that waited behind it has begun."""
        call, self.call, self.next_call = self.call, self.next_call, None
        assert call is not None
        return call.tasks

    def withdraw_next(self) -> None:
        """It need not begin with the call that waits."""
        assert self.next_call is not None
        self.actor.withdraw.remote(self.next_call.number)


def in_a_line(words: object) -> str:
    """Ray's words in one line, and not too long."""
    return " ".join(str(words).split())[:300]


def cause_of(error: RayTaskError) -> Exception:
    """What the runner raised, without Ray's copy of its traceback."""
    cause = error.cause
    if isinstance(cause, DistpgError):
        return cause
    line = f"a runner failed: {type(cause).__name__}: {in_a_line(cause)}"
    return EnvRunnersError(line, "--debug shows where.")
