"""What goes wrong with runners and their cluster, in words and events."""

from typing import Literal

from ray.exceptions import RayError, RayTaskError

from distpg.core import events
from distpg.core.tasks import Task
from distpg.errors import OF_EVALUATION, ClusterError, EnvRunnersError, EpisodeError


def in_a_line(words: object) -> str:
    """Ray's words in one line, and not too long."""
    return " ".join(str(words).split())[:300]


def cause_of(error: RayError) -> Exception:
    """What a runner raised, without Ray's copy of its traceback; else Ray's own error."""
    cause: Exception = error.cause if isinstance(error, RayTaskError) else error
    return cause


def cluster_gone(error: Exception) -> ClusterError:
    """Ray cannot say any more what its actors do."""
    return ClusterError(
        f"the Ray cluster is gone: {in_a_line(error)}", "Start it again, then: distpg resume RUN."
    )


def none_starts(last_words: str) -> EnvRunnersError:
    """Runners only ever end before they are ready; the last one with these words."""
    return EnvRunnersError(
        f"no runner starts: {last_words or 'none was ready in time'}",
        "See --env-start-timeout-s and --allow-mixed; runners' logs are in Ray's session directory.",
    )


def deadly(env_id: str, task: Task, last_words: str) -> EpisodeError:
    """A task whose runners end, wherever it is played."""
    first, count = task.first_episode, task.num_episodes
    of = "" if task.plays == "training" else "evaluation "
    what = f"{of}episode {first}" if count == 1 else f"one of {of}episodes {first} to {first + count - 1}"
    return EpisodeError(
        f"{env_id} ends or hangs the process that plays {what}: {last_words}",
        "See --sample-timeout-s if steps take long, --max-task-retries if machines are often lost.",
        OF_EVALUATION if of else first,
    )


def stopped(
    why: Literal["silent", "not started", "recycled"], runner: int, first_episodes: tuple[int, ...]
) -> events.Event:
    """The event of a runner that was ended on purpose."""
    kinds = {
        "silent": events.EnvRunnerSilent,
        "not started": events.EnvRunnerNotStarted,
        "recycled": events.EnvRunnerRecycled,
    }
    return kinds[why](runner, first_episodes)
