import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gymnasium import spaces

from distpg.core.episodes import EpisodeBatch
from distpg.core.events import OnEvent
from distpg.core.policies import PolicySpec, Weights
from distpg.core.tasks import Task
from distpg.dispatch.messages import Rules
from distpg.environments.envs import EnvInfo, inspect_env
from distpg.environments.making import EnvSpec
from distpg.environments.spaces import actions_of, observations_of
from distpg.on_ray.cluster import ray_cluster
from distpg.sampling.group import EnvRunnerGroup
from distpg.sampling.runner_spec import EnvRunnerSpec
from tests.cluster.timings import wait_for

if TYPE_CHECKING:
    from distpg.on_ray.group import RayEnvRunnerGroup


with contextlib.suppress(ImportError):  # scripts/test-cluster does without it
    import hypothesis

    # How long an example takes says nothing on a machine that others use too.
    too_slow = hypothesis.HealthCheck.too_slow
    hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[too_slow])
    hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> None:
    """Under nohup, or in the background of a script, some are ignored, and so they are in child processes."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _verdicts_of_these_tests_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """One Ray cluster, as distpg starts it, for every test that needs one."""
    with ray_cluster(None):
        yield


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def policy_spec(env_id: str = "CartPole-v1", hidden_sizes: tuple[int, ...] = (8,)) -> PolicySpec:
    info = inspect_env(EnvSpec(env_id))
    return PolicySpec(info.observations.size, info.actions.sizes, hidden_sizes)


def plain_env(observation_size: int, num_actions: int) -> EnvInfo:
    """Facts of an environment of so many numbers and actions."""
    observations = spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
    return EnvInfo(
        observations_of("Plain", observations),
        actions_of("Plain", spaces.Discrete(num_actions)),
        has_action_bounds=False,
        max_episode_steps=None,
        reward_threshold=None,
    )


def make_batch(
    lengths: list[int], seed: int = 0, observation_size: int = 3, num_actions: int = 2
) -> EpisodeBatch:
    """A batch of made-up episodes."""
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    return EpisodeBatch(
        observations=rng.normal(size=(steps, observation_size)).astype(np.float32),
        actions=rng.integers(num_actions, size=steps).astype(np.uint8),
        returns=rng.normal(size=steps).astype(np.float32),
        lengths=np.array(lengths, np.int32),
        episode_ids=np.arange(len(lengths), dtype=np.int64),
        episode_returns=np.array(lengths, np.float64),
        terminated=np.ones(len(lengths), np.bool_),
        weights_seq_no=0,
    )


def collect(group: EnvRunnerGroup, tasks: Sequence[Task], weights: Weights) -> EpisodeBatch:
    """The episodes of an iteration, as without policy lag."""
    return group.collect(group.add(tasks, weights))


FEW_CPUS = 0.05


def ray_group(
    spec: EnvRunnerSpec, num_env_runners: int, on_event: OnEvent = lambda event: None
) -> "RayEnvRunnerGroup":
    """Runners that ask for few CPUs, so that many fit."""
    from distpg.on_ray.actor import new_actors
    from distpg.on_ray.group import RayEnvRunnerGroup

    return RayEnvRunnerGroup(spec, Rules(num_env_runners), new_actors(spec, FEW_CPUS), on_event)


def a_runner() -> int:
    """The process of one; where they are still starting, which nothing tells of, it is waited for."""
    return min(wait_for("a runner", lambda: processes_named("ray::RayEnvRunner"), 120))


def processes_named(title: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(title.encode()):
                found.append(int(path.name))
        except OSError:
            continue
    return found
