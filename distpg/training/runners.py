"""The runners that a configuration asks for: in this process, or on Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from distpg.config.train_config import TrainConfig, automatic_num_env_runners
from distpg.core.policies import PolicySpec
from distpg.core.tasks import audited
from distpg.dispatch.messages import Rules
from distpg.on_ray.shipping import shipment_of
from distpg.runs.events import EventLog
from distpg.sampling.env_runner import env_runner_spec, plan
from distpg.sampling.group import EnvRunnerGroup, InProcessEnvRunnerGroup
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_cluster


@contextlib.contextmanager
def env_runners(
    config: TrainConfig, policy_spec: PolicySpec, events: EventLog, interrupts: Interrupts, run: str = ""
) -> Iterator[tuple[TrainConfig, EnvRunnerGroup]]:
    """The runners the configuration asks for, and the configuration with their number."""
    spec = env_runner_spec(config, policy_spec)
    if config.num_env_runners == 0:
        with contextlib.closing(InProcessEnvRunnerGroup(spec, config.audit_every, events)) as here:
            yield config, here
        return
    from distpg.on_ray.cluster import cpus_per_env_runner, num_cpus, ray_cluster

    shipment = None if config.address is None else shipment_of(config.env_id)
    with ray_cluster(config.address, shipment) as cluster:
        interrupts.install()  # again: Ray took the signals for itself
        from distpg.on_ray.group import RayEnvRunnerGroup

        def room() -> int:
            return automatic_num_env_runners(num_cpus(), len(plan(config, 0)))

        follows = config.num_env_runners == "auto" and not cluster.is_own
        number = room() if config.num_env_runners == "auto" else config.num_env_runners
        advices = check_cluster(config, number, cluster.num_cpus, cluster.is_own, cluster.can_grow)
        for advice in [*advices, *([] if shipment is None else shipment.advice())]:
            events(advice)
        cpus = cpus_per_env_runner(cluster, number, config.cpus_per_env_runner)
        group = RayEnvRunnerGroup(
            spec,
            cpus,
            _rules(config, number, waits_for_room=not cluster.is_own),
            events,
            config.allow_mixed,
            is_reproducible=events.why_not is None,
            room=room if follows else None,
            run=None if cluster.is_own else run,
        )
        with contextlib.closing(group):
            group.wait_for(min(config.min_env_runners, number))
            yield replace(config, num_env_runners=number), group


def _rules(config: TrainConfig, num_env_runners: int, waits_for_room: bool) -> Rules:
    return Rules(
        num_runners=num_env_runners,
        silent_after_s=config.sample_timeout_s,
        start_timeout_s=config.env_start_timeout_s,
        waits_for_room=waits_for_room,
        max_task_retries=config.max_task_retries,
        recycle_after=config.recycle_runner_after,
        audited=lambda tasks: audited(tasks, config.seed, config.audit_every),
    )
