"""What can be known to go wrong before anything starts: pure functions of what was found."""

import os
import shutil
from pathlib import Path

from distpg.config.train_config import TrainConfig, automatic_episodes_per_task
from distpg.core.events import Advice
from distpg.environments.envs import EnvInfo
from distpg.errors import ConfigError, RunDirectoryError
from distpg.on_ray.address import check_answers
from distpg.system.files import check_directory_of
from distpg.system.hardware import free_memory

# A runner of a built-in policy: Python, Ray, NumPy and Gymnasium take 110 MB, the environment the rest.
RUNNER_BYTES = 150 * 10**6
# Two checkpoints, and the log of a few thousand iterations.
MIN_DISK_BYTES = 64 * 2**20


def check_memory(free_bytes: int | None, num_runners: int) -> Advice | None:
    """Whether this machine's free memory holds so many runners; None: it does, or nobody knows."""
    if free_bytes is None or (fit := free_bytes // RUNNER_BYTES) >= num_runners:
        return None
    return Advice(
        f"{num_runners} runners need about {num_runners * RUNNER_BYTES / 1e9:.1f} GB of memory, "
        f"{free_bytes / 1e9:.1f} GB are free",
        f"About {fit} fit: --num-env-runners {fit}.",
    )


def bytes_per_step(env: EnvInfo, has_masks: bool) -> int:
    """Of a batch, but for what only some options ask for."""
    kept, parts = env.observations, len(env.actions.sizes)
    action = 1 if env.actions.is_categorical and max(env.actions.sizes) <= 256 else 4
    mask = sum(env.actions.sizes) if has_masks else 0
    return kept.size * kept.dtype.itemsize + parts * action + mask + 4


def check_iteration(config: TrainConfig, env: EnvInfo, free_bytes: int | None) -> Advice | None:
    """Whether this machine's memory holds the iterations in flight if each episode is as long as it may be.

    None: it does, or nobody knows. Each is there twice, as its tasks came and as one batch.
    """
    limit = config.max_episode_steps or env.max_episode_steps
    if free_bytes is None or limit is None:
        return None
    step = bytes_per_step(env, config.action_mask not in ("auto", "none"))
    iterations = 2 + config.policy_lag
    needed = step * limit * config.episodes_per_iteration * iterations
    if needed <= free_bytes:
        return None
    return Advice(
        f"iterations of {config.episodes_per_iteration:,} episodes of up to {limit:,} steps of {step:,} "
        f"bytes may take {needed / 1e9:.1f} GB of memory, {free_bytes / 1e9:.1f} GB are free",
        "Lower --episodes-per-iteration or --max-episode-steps, or make observations smaller.",
    )


def check_disk(path: Path) -> None:
    """Whether there is room for a run (RunDirectoryError: there is too little)."""
    try:
        total, _, free_bytes = shutil.disk_usage(path)
    except OSError:
        return
    if free_bytes < MIN_DISK_BYTES and total > 0:  # 0: a file system that does not say
        raise RunDirectoryError(
            f"{path} has {free_bytes / 2**20:.0f} MiB left, a run needs at least {MIN_DISK_BYTES // 2**20}",
            "Make room, or give a --run-dir on another disk.",
        )


def check_enough_tasks(config: TrainConfig, num_runners: int) -> Advice | None:
    """How many runners would idle for want of tasks, and what would feed them; None: all have work."""
    if (num_tasks := _num_tasks(config, config.episodes_per_iteration)) >= num_runners:
        return None
    size = config.episodes_per_task
    # Automatic tasks are of one episode while there are fewer than 128, and of 64 at most.
    candidates = [num_runners, 64 * num_runners] if size == "auto" else [num_runners * size]
    enough = next(episodes for episodes in candidates if _num_tasks(config, episodes) >= num_runners)
    return Advice(
        f"{num_runners - num_tasks} of {num_runners} runners will idle: an iteration has {num_tasks} tasks",
        f"--episodes-per-iteration {enough} would give each of them one.",
    )


def _num_tasks(config: TrainConfig, episodes: int) -> int:
    size = config.episodes_per_task
    return -(-episodes // (automatic_episodes_per_task(episodes) if size == "auto" else size))


def check_address(config: TrainConfig) -> None:
    """Whether a cluster is at the configuration's address and takes this process in (ConfigError: no)."""
    if config.address is not None:
        check_answers(config.address)


def check_before_start(config: TrainConfig, run: Path | None = None) -> None:
    """What can be known before anything is made or started.

    Args:
        run: The run's directory, if it is there already.

    Raises:
        ConfigError: No cluster is at the address, or it does not take this process in; or the recording would
            be in no directory.
        RunDirectoryError: There is no room for the run.
    """
    check_address(config)
    if config.record_dispatch is not None:
        check_directory_of(Path(config.record_dispatch), "--record-dispatch")
    path = run or Path(config.run_dir or "runs").absolute()
    there = (parent for parent in (path, *path.parents) if os.path.isdir(parent))  # noqa: PTH112 - long names
    check_disk(next(there))


def check_cluster(
    config: TrainConfig, num_runners: int, num_cpus: float, is_own: bool, can_grow: bool
) -> list[Advice]:
    """What can be known when the cluster is there, and no runner yet.

    Args:
        is_own: Whether this process started it, so that it is this machine.
        can_grow: Whether it adds nodes by itself.

    Raises:
        ConfigError: The fewest runners asked for do not fit.
    """
    if not is_own:
        fewest = config.min_env_runners
        if config.num_env_runners == "auto":  # never more than there are tasks
            fewest = min(fewest, _num_tasks(config, config.episodes_per_iteration))
        # Ray counts in ten-thousandths of a CPU, and would wait for ever for what does not fit.
        each = config.cpus_per_env_runner
        fit = int(round(num_cpus * 10_000) // max(1, round(each * 10_000)))
        if fit < fewest and not can_grow:
            raise ConfigError(
                f"{fewest} runners of {each:g} CPUs do not fit: "
                f"the cluster has {num_cpus:g} CPUs, enough for {fit}",
                "Lower --min-env-runners or --cpus-per-env-runner (fractions are allowed), or add nodes.",
            )
    memory = check_memory(free_memory(), num_runners) if is_own else None
    return [advice for advice in (memory, check_enough_tasks(config, num_runners)) if advice is not None]
