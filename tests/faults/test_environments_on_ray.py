"""What people's environments do to runners on Ray: the same comes out as without."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distpg.config.train_config import TrainConfig
from distpg.core import events
from distpg.core.events import Advice, Event
from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.errors import EpisodeError
from distpg.on_ray.actor import RayEnvRunner, new_actors
from distpg.on_ray.group import RayEnvRunnerGroup
from distpg.on_ray.introduction import Introduction
from distpg.sampling.group import InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import EnvRunnerSpec, env_runner_spec
from tests.conftest import FEW_CPUS, collect, policy_spec
from tests.determinism.test_worker_counts import as_bytes

POLICY = policy_spec("tests.odd_environments:Walk")
WEIGHTS = POLICY.initial_weights(0)
# For environments whose observations are a number.
NARROW = policy_spec("tests.odd_environments:ShortOrLong")
NARROW_WEIGHTS = NARROW.initial_weights(0)
TASKS = tasks_of_iteration(0, 4, 2, 0)


def spec_of(name: str, **kwargs: Any) -> EnvRunnerSpec:
    env_id = f"tests.odd_environments:{name}"
    return env_runner_spec(
        TrainConfig(env_id=env_id, env_kwargs=kwargs, env_reuse="always"),
        NARROW if name == "Raising" else POLICY,
    )


@contextmanager
def on_ray(spec: EnvRunnerSpec, events: list[Event], **rules: Any) -> Iterator[RayEnvRunnerGroup]:
    group = RayEnvRunnerGroup(spec, Rules(**rules), new_actors(spec, FEW_CPUS), events.append)
    try:
        yield group
    finally:
        group.close()


@pytest.mark.usefixtures("ray")
def test_environments_play_in_the_main_thread() -> None:
    spec = spec_of("InstallsHandler")
    with on_ray(spec, []) as group:
        there = collect(group, TASKS, WEIGHTS)
    assert as_bytes(there) == as_bytes(collect(InProcessEnvRunnerGroup(spec), TASKS, WEIGHTS))


@pytest.mark.parametrize("where", ["step", "reset"])
@pytest.mark.parametrize("what", ["SystemExit", "GeneratorExit", "KeyboardInterrupt", "UnspeakableError"])
def test_exits_are_failures_in_this_process(where: str, what: str) -> None:
    with pytest.raises(EpisodeError, match=f"failed in episode 0, step 0: {what}"):
        collect(
            InProcessEnvRunnerGroup(spec_of("Raising", where=where, what=f"{what}(0)")), TASKS, NARROW_WEIGHTS
        )


@pytest.mark.usefixtures("ray")
def test_exits_are_failures_in_runners() -> None:
    for what in ("SystemExit", "KeyboardInterrupt"):
        with (
            on_ray(spec_of("Raising", where="step", what=f"{what}(0)"), []) as group,
            pytest.raises(EpisodeError, match=f"failed in episode 0, step 0: {what}"),
        ):
            collect(group, TASKS[:1], NARROW_WEIGHTS)


def test_a_close_that_fails_loses_nothing() -> None:
    events: list[Event] = []
    group = InProcessEnvRunnerGroup(spec_of("Raising", where="close"), on_event=events.append)
    collect(group, TASKS, NARROW_WEIGHTS)
    group.close()
    (event,) = events
    assert isinstance(event, Advice)
    assert event.why == "Raising could not be closed: SystemExit: 0"


@pytest.mark.usefixtures("ray")
def test_runners_close_their_environments(tmp_path: Path) -> None:
    events: list[Event] = []
    with on_ray(spec_of("Closes", directory=str(tmp_path)), events, num_runners=2) as group:
        group.wait_for(2)
        for note in tmp_path.iterdir():  # of their trials
            note.unlink()
        collect(group, TASKS, WEIGHTS)
        playing = {runner.actor for runner in group._runners.values()}
    assert len(playing) == 2
    # Two lanes each, of those that played.
    assert len(list(tmp_path.iterdir())) in (2, 4)
    assert not any(isinstance(event, Advice) for event in events)


@pytest.mark.usefixtures("ray")
def test_recycled_runners_close_theirs_too(tmp_path: Path) -> None:
    spec = spec_of("Closes", directory=str(tmp_path))
    with on_ray(spec, [], recycle_after=2) as group:
        group.wait_for(1)
        for note in tmp_path.iterdir():
            note.unlink()
        collect(group, TASKS, WEIGHTS)
        group.wait_for(1)
    # The first one's two lanes at least: it had ended its call before the second began.
    assert len(list(tmp_path.iterdir())) >= 2


@pytest.mark.usefixtures("ray")
def test_a_start_whose_trial_is_slow_but_goes_on_is_not_given_up(tmp_path: Path) -> None:
    events: list[Event] = []
    spec = replace(spec_of("Takes", make_s=0, step_s=0.5, log=str(tmp_path / "log")), trial_steps=16)
    with on_ray(spec, events, start_timeout_s=5.0) as group:
        group.wait_for(1)
    assert [event.kind for event in events] == ["env_runner_joined"]


def test_an_environment_that_takes_numpy_actions_is_told_so() -> None:
    with pytest.raises(EpisodeError, match="actions are Python integers"):
        collect(InProcessEnvRunnerGroup(spec_of("TakesNumpyActions")), TASKS, WEIGHTS)


IN_A_RAY_OF_ITS_OWN = """
import json, os, sys
os.environ["RAY_AUTH_MODE"] = "token"
import ray
quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
ray.init("local", num_cpus=2, _node_ip_address="127.0.0.1", **quiet)
import distpg
env_id = "tests.odd_environments:SetOrder"
options = {"num_env_runners": 2, "max_iterations": 3, "env_reuse": "always", "run_dir": sys.argv[1]}
result = distpg.train(distpg.TrainConfig(env_id, **options))
print(json.dumps([result.weights_digest, result.reproducible]))
"""


def test_runners_in_the_callers_own_ray_have_their_environment(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", IN_A_RAY_OF_ITS_OWN, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(result.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert found[0][1] is True


def test_each_lanes_step_is_progress() -> None:
    from distpg.sampling.gymnasium_sampler import GymnasiumSampler

    seen = []
    spec = spec_of("Walk")

    def make(lane: int) -> Any:
        from distpg.environments.envs import make_env

        env = make_env(spec.env)
        step = env.unwrapped.step

        def counted(action: int) -> Any:
            seen.append(sampler.steps)
            return step(action)

        env.unwrapped.step = counted  # type: ignore[method-assign]
        return env

    sampler = GymnasiumSampler(spec.env, POLICY, 0, make=make)
    sampler.sample(0, 3, WEIGHTS)
    assert seen[:6] == [6, 7, 8, 9, 10, 11]  # three environments made and reset before


def test_a_stop_is_heard_in_the_middle_of_an_episode() -> None:
    from distpg.environments.envs import make_env
    from distpg.sampling.failures import StoppedError
    from distpg.sampling.gymnasium_sampler import GymnasiumSampler

    spec = spec_of("Walk")
    sampler = GymnasiumSampler(spec.env, POLICY, 0, make=lambda lane: make_env(spec.env))
    sampler.sample(0, 2, WEIGHTS)
    sampler.is_to_stop = True
    with pytest.raises(StoppedError):
        sampler.sample(2, 2, WEIGHTS)


def test_weights_that_are_loaded_are_not_decoded_again() -> None:
    from distpg.on_ray.encoding import checksum, decode, encode
    from distpg.on_ray.side_channel import SideChannel

    runner = RayEnvRunner(spec_of("Walk"), 0, SideChannel("none", 3600.0))
    tasks = encode((Task(0, 2, 0),))
    weights = encode(WEIGHTS)
    first = decode(runner.answer(1, tasks, 1, checksum(weights), weights))
    again = decode(runner.answer(2, tasks, 1, "", b"no weights at all"))
    with pytest.raises(ValueError, match="not what was sent"):
        runner.answer(3, tasks, 2, checksum(weights), weights[:-1] + b"x")
    assert first.digests == again.digests


def test_long_words_are_kept_in_part_and_shown_in_a_smaller_part() -> None:
    spec = spec_of("Raising", where="step", what="ValueError('x' * 3000000)")
    with pytest.raises(EpisodeError) as caught:
        collect(InProcessEnvRunnerGroup(spec), TASKS, NARROW_WEIGHTS)
    assert 60_000 < len(caught.value.message) < 65_000
    event = events.EpisodeFailed(0, caught.value.message)
    assert len(event.record()["why"]) > 60_000
    assert len(str(event)) < 2_200


class Stumbles(RayEnvRunner):
    """Fails once on its way to join, and once in a call, by no fault of the environment."""

    def fail_once(self, where: str) -> None:
        marker = Path(self._spec.env.env_kwargs["directory"], where)
        if not marker.exists():
            marker.touch()
            raise FileNotFoundError(2, "No such file or directory")

    def join(self) -> Introduction:
        self.fail_once("join")
        return super().join()

    def answer(self, *args: Any) -> bytes:
        self.fail_once("answer")
        return super().answer(*args)


@pytest.mark.usefixtures("ray")
def test_a_runner_that_fails_by_itself_is_replaced(tmp_path: Path) -> None:
    spec, found = spec_of("Closes", directory=str(tmp_path)), list[Event]()
    group = RayEnvRunnerGroup(spec, Rules(), new_actors(spec, FEW_CPUS, Stumbles), found.append)
    batch = collect(group, TASKS, WEIGHTS)
    group.close()
    assert as_bytes(batch) == as_bytes(collect(InProcessEnvRunnerGroup(spec), TASKS, WEIGHTS))
    kinds = ["env_runner_refused", "env_runner_joined", "env_runner_died", "env_runner_joined"]
    assert [event.kind for event in found] == kinds
    assert "it cannot start: FileNotFoundError" in str(found[0])
