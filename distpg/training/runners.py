"""Which runners a configuration asks for, here or on Ray, and what an iteration gives them to do."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import cloudpickle

from distpg.config.train_config import TrainConfig, automatic_num_env_runners
from distpg.core.events import Advice, OnEvent
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.environments.contract import FirstLook
from distpg.errors import ConfigError, in_words
from distpg.on_ray.shipping import shipment_of
from distpg.sampling.group import EnvRunnerGroup, InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.system.files import writing
from distpg.system.interrupts import Interrupts
from distpg.training.preflight import check_cluster

# A start takes a second of a core, or waits, as long as an environment's own.
_FEWEST_STARTS, _STARTS_PER_CPU = 4, 2
# A runner may take so many times as long as the environment took at first: machines are busy, and differ.
_PATIENCE = 4
_TRIAL_STEPS, _TRIAL_S = 200, 1.0


def plan(config: TrainConfig, iteration: int) -> list[Task]:
    """The tasks of iteration i (from 0), from the resolved configuration alone.

    With a policy lag of k they are played with the weights after i - k updates, the first k iterations with
    the initial ones: a number, and no race between runners and learner (HTS-RL, Liu et al. 2020,
    arXiv:2012.09849; Cleanba, Huang et al. 2023, arXiv:2310.00036).
    """
    size, lag = config.episodes_per_iteration, config.policy_lag
    return tasks_of_iteration(iteration, size, int(config.episodes_per_task), max(0, iteration - lag))


def _check_it_travels(spec: EnvRunnerSpec) -> None:
    """Whether classes, functions and values of the program can be sent (ConfigError: they cannot)."""
    try:
        cloudpickle.dumps(spec)
    except Exception as error:
        raise ConfigError(
            f"the environment or policy cannot be sent to runners: {in_words(error)}",
            "Give what can be pickled, or a function that makes it there; or collect here: "
            "--num-env-runners 0.",
        ) from error


@contextlib.contextmanager
def env_runners(
    config: TrainConfig,
    spec: EnvRunnerSpec,
    look: FirstLook,
    interrupts: Interrupts,
    on_event: OnEvent,
    is_reproducible: bool = True,
    run: str | None = None,
) -> Iterator[tuple[TrainConfig, EnvRunnerGroup, Callable[[], None]]]:
    """The runners that a configuration asks for, the configuration with their number, and who waits for them.

    They are on their way. The last raises EnvRunnersError where they only ever end before they are ready.

    Args:
        look: What is known of the time that the environment takes.
        run: Its name in a cluster's metrics; None: it is in none.
    """
    if config.num_env_runners == 0:
        with contextlib.closing(InProcessEnvRunnerGroup(spec, config.audit_every, on_event)) as here:
            yield config, here, lambda: None
        return
    _check_it_travels(spec)
    from distpg.on_ray.cluster import cpus_per_env_runner, num_cpus, ray_cluster

    named = map(str, (config.env_id, *config.wrappers, config.policy))
    shipment = None if config.address is None else shipment_of(*named)
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
        rules = _rules(config, look, number, cluster.num_cpus, waits_for_room=not cluster.is_own)
        for advice in (
            *cluster.advice,
            *check_cluster(config, number, cluster.num_cpus, cluster.is_own, cluster.can_grow),
            *([] if shipment is None else shipment.advice()),
            *_advice_on_slow(config, rules, look),
        ):
            on_event(advice)
        follows = config.num_env_runners == "auto" and not cluster.is_own
        group = RayEnvRunnerGroup(
            spec,
            rules,
            new_actors(
                _with_trial(spec, look),
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
        enough = min(config.min_env_runners, number)
        yield replace(config, num_env_runners=number), group, lambda: group.wait_for(enough)


def _with_trial(spec: EnvRunnerSpec, look: FirstLook) -> EnvRunnerSpec:
    """A runner plays for about a second to show that it plays as the others, of what is slow less."""
    steps, episodes = (
        max(1, min(_TRIAL_STEPS, int(_TRIAL_S / max(seconds, 1e-9))))
        for seconds in (look.step_s, look.make_s)
    )
    return replace(spec, trial_steps=steps, trial_episodes=episodes)


def _rules(
    config: TrainConfig, look: FirstLook, num_env_runners: int, num_cpus: int, waits_for_room: bool
) -> Rules:
    slowest_s = max(look.make_s, look.step_s)
    return Rules(
        num_runners=num_env_runners,
        silent_after_s=max(config.sample_timeout_s, _PATIENCE * slowest_s),
        start_timeout_s=max(config.env_start_timeout_s, _PATIENCE * (look.make_s + look.step_s)),
        waits_for_room=waits_for_room,
        starts_at_once=max(_FEWEST_STARTS, _STARTS_PER_CPU * num_cpus),
        max_task_retries=config.max_task_retries,
        recycle_after=config.recycle_runner_after,
    )


def _advice_on_slow(config: TrainConfig, rules: Rules, look: FirstLook) -> list[Advice]:
    """What a user should know who wonders why a runner that hangs is found so late."""
    if rules.silent_after_s == config.sample_timeout_s:
        return []
    took = f"{look.make_s:.1f} s to be made and {look.step_s:.1f} s for a step"
    why = f"{config.env_id} took {took}: a runner counts as hung only after {rules.silent_after_s:.0f} s"
    return [Advice(why, "A longer --sample-timeout-s is used as it is.")]


def _appended(path: str) -> TextIO:
    with writing(Path(path)):
        return Path(path).open("a", encoding="utf-8")
