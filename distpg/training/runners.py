"""Which runners a configuration asks for, here or on Ray, and what an iteration gives them to do."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from distpg.config.train_config import TrainConfig, automatic_num_env_runners
from distpg.core.events import OnEvent
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.on_ray.shipping import shipment_of
from distpg.sampling.env_runner import EnvRunnerSpec
from distpg.sampling.group import EnvRunnerGroup, InProcessEnvRunnerGroup
from distpg.system.files import writing
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_cluster

# A start takes a second of a core, or waits, as long as an environment's own.
_FEWEST_STARTS, _STARTS_PER_CPU = 4, 2


def plan(config: TrainConfig, iteration: int) -> list[Task]:
    """The tasks of iteration i (from 0), from the resolved configuration alone.

    With a policy lag of k they are played with the weights after i - k updates, the first k iterations with
    the initial ones: a number, and no race between runners and learner (HTS-RL, Liu et al. 2020,
    arXiv:2012.09849; Cleanba, Huang et al. 2023, arXiv:2310.00036).
    """
    size, lag = config.episodes_per_iteration, config.policy_lag
    return tasks_of_iteration(iteration, size, int(config.episodes_per_task), max(0, iteration - lag))


@contextlib.contextmanager
def env_runners(
    config: TrainConfig,
    spec: EnvRunnerSpec,
    interrupts: Interrupts,
    on_event: OnEvent,
    is_reproducible: bool = True,
    run: str | None = None,
) -> Iterator[tuple[TrainConfig, EnvRunnerGroup]]:
    """The runners that a configuration asks for, and the configuration with their number.

    Args:
        run: Its name in a cluster's metrics; None: it is in none.
    """
    if config.num_env_runners == 0:
        with contextlib.closing(InProcessEnvRunnerGroup(spec, config.audit_every, on_event)) as here:
            yield config, here
        return
    from distpg.on_ray.cluster import cpus_per_env_runner, num_cpus, ray_cluster

    shipment = None if config.address is None else shipment_of(config.env_id)
    with contextlib.ExitStack() as stack:
        record = (
            None if config.record_dispatch is None else stack.enter_context(_appended(config.record_dispatch))
        )
        cluster = stack.enter_context(ray_cluster(config.address, shipment))
        interrupts.install()  # again: Ray took the signals for itself
        from distpg.on_ray.actor import new_actors
        from distpg.on_ray.group import RayEnvRunnerGroup

        def room() -> int:
            return automatic_num_env_runners(num_cpus(), len(plan(config, 0)))

        number = room() if config.num_env_runners == "auto" else config.num_env_runners
        for advice in cluster.advice:
            on_event(advice)
        for advice in check_cluster(config, number, cluster.num_cpus, cluster.is_own, cluster.can_grow):
            on_event(advice)
        for advice in [] if shipment is None else shipment.advice():
            on_event(advice)
        follows = config.num_env_runners == "auto" and not cluster.is_own
        group = RayEnvRunnerGroup(
            spec,
            _rules(config, number, cluster.num_cpus, waits_for_room=not cluster.is_own),
            new_actors(
                spec,
                cpus_per_env_runner(cluster, number, config.cpus_per_env_runner),
                has_environment=cluster.is_own,
            ),
            on_event,
            audit_every=config.audit_every,
            allow_mixed=config.allow_mixed,
            is_reproducible=is_reproducible,
            room=room if follows else None,
            run=None if cluster.is_own else run,
            record=record,
        )
        stack.callback(group.close)
        group.wait_for(min(config.min_env_runners, number))
        yield replace(config, num_env_runners=number), group


def _rules(config: TrainConfig, num_env_runners: int, num_cpus: int, waits_for_room: bool) -> Rules:
    return Rules(
        num_runners=num_env_runners,
        silent_after_s=config.sample_timeout_s,
        start_timeout_s=config.env_start_timeout_s,
        waits_for_room=waits_for_room,
        starts_at_once=max(_FEWEST_STARTS, _STARTS_PER_CPU * num_cpus),
        max_task_retries=config.max_task_retries,
        recycle_after=config.recycle_runner_after,
    )


def _appended(path: str) -> TextIO:
    with writing(Path(path)):
        return Path(path).open("a", encoding="utf-8")
