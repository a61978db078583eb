"""One runner as its group knows it: its actor, what it works on, and what waits behind that."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from distpg.core.tasks import Task
from distpg.on_ray.encoding import encode

Numbered = tuple[int, str, Any]
"""As :class:`distpg.on_ray.shared.Shared` has it."""


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
        beats: Number of the last beat that was heard of it.
    """

    number: int
    actor: Any
    call: Call | None = None
    next_call: Call | None = None
    has_joined: bool = False
    beats: int = 0

    @property
    def first_episodes(self) -> tuple[int, ...]:
        """Of the tasks that it works on."""
        return () if self.call is None else tuple(task.first_episode for task in self.call.tasks)

    @property
    def current_call(self) -> int | None:
        """Number of the call that it works on, 0 where it is on its way to join; None: it does nothing."""
        return self.call.number if self.call is not None else None if self.has_joined else 0

    def send(
        self, number: int, tasks: tuple[Task, ...], weights: Numbered, question: Numbered | None, ahead: bool
    ) -> None:
        """A call with weights, and with what is asked, for now or for when the present one is done."""
        arguments = [*weights, *(question or ())]
        call = Call(self.actor.answer.remote(number, encode(tasks), *arguments), number, tasks)
        if ahead:
            self.next_call = call
        else:
            self.call = call

    def returned(self) -> tuple[Task, ...]:
        """The call came back; its tasks. The one that waited behind it has begun."""
        call, self.call, self.next_call = self.call, self.next_call, None
        assert call is not None
        return call.tasks
