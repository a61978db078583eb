"""The runners that a configuration asks for: in this process, or on Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from distpg.config import TrainConfig, automatic_num_env_runners
from distpg.env_runners import EnvRunnerGroup, InProcessEnvRunnerGroup, env_runner_spec, is_audited, plan
from distpg.events import EventLog
from distpg.interrupts import Interrupts
from distpg.messages import Rules
from distpg.policies import PolicySpec
from distpg.preflight import check_cluster


@contextlib.contextmanager
def env_runners(
    config: TrainConfig, policy_spec: PolicySpec, events: EventLog, interrupts: Interrupts
) -> Iterator[tuple[TrainConfig, EnvRunnerGroup]]:
    """The runners the configuration asks for, and the configuration with their number."""
    spec = env_runner_spec(config, policy_spec)
    if config.num_env_runners == 0:
        with contextlib.closing(InProcessEnvRunnerGroup(spec, config.audit_every, events)) as here:
            yield config, here
        return
    from distpg.ray_cluster import cpus_per_env_runner, ray_cluster

    with ray_cluster(config.address) as cluster:
        interrupts.install()  # again: Ray took the signals for itself
        from distpg.ray_env_runners import RayEnvRunnerGroup

        number = config.num_env_runners
        if number == "auto":
            number = automatic_num_env_runners(cluster.num_cpus, len(plan(config, 0)))
        for advice in check_cluster(config, number, cluster.num_cpus, cluster.is_own, cluster.can_grow):
            events({"event": "warning", "why": advice.message, "hint": advice.hint})
        cpus = cpus_per_env_runner(cluster, number, config.cpus_per_env_runner)
        group = RayEnvRunnerGroup(
            spec, cpus, _rules(config, number), events, config.allow_mixed, events.why_not is None
        )
        with contextlib.closing(group):
            group.wait_for(min(config.min_env_runners, number))
            yield replace(config, num_env_runners=number), group


def _rules(config: TrainConfig, num_env_runners: int) -> Rules:
    return Rules(
        num_runners=num_env_runners,
        silent_after_s=config.sample_timeout_s,
        start_timeout_s=config.env_start_timeout_s,
        max_task_retries=config.max_task_retries,
        recycle_after=config.recycle_runner_after,
        is_audited=lambda task: is_audited(task, config.seed, config.audit_every),
    )
