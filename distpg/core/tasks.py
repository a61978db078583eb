"""What runners are given to do: fixed runs of consecutive episodes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from distpg.core.seeding import Stream, words


class Task(NamedTuple):
    """A fixed run of consecutive episodes, played with the weights after update ``weights_seq_no``.

    Episodes that are not trained on are numbered on their own, and have random numbers of their own:
    ``periodic`` are those of evaluations in the course of a training, ``greedy`` and ``sampled`` those of
    ``distpg evaluate``.

    Attributes:
        question: 0: its episodes are asked for; else the number of a question about them, asked once they are
            played. Whoever played them answers at once, any other plays them again first: see ``Added`` of
            ``dispatch.messages``.
    """

    first_episode: int
    num_episodes: int
    weights_seq_no: int
    plays: Literal["training", "periodic", "greedy", "sampled"] = "training"
    question: int = 0


def tasks_of_iteration(
    iteration: int, episodes_per_iteration: int, episodes_per_task: int, weights_seq_no: int
) -> list[Task]:
    """The tasks of iteration i (from 0), which plays episodes i * E to (i + 1) * E - 1."""
    start, end = iteration * episodes_per_iteration, (iteration + 1) * episodes_per_iteration
    return [
        Task(first, min(episodes_per_task, end - first), weights_seq_no)
        for first in range(start, end, episodes_per_task)
    ]


def audited(tasks: Sequence[Task], seed: int, audit_every: int) -> set[Task]:
    """Those that are played twice and compared: one in ``audit_every``, by a random word of its own."""
    if audit_every == 0 or not tasks:
        return set()
    random = words(seed, Stream.AUDIT, [task.first_episode for task in tasks], 0, 1)[:, 0]
    return {task for task, word in zip(tasks, random.tolist(), strict=True) if word % audit_every == 0}
