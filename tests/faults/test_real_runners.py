"""Real Ray actors that die, hang, freeze, fail, leak or differ: the answers stay the same."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from distpg.config.train_config import TrainConfig
from distpg.core.events import Event, NotReproducible
from distpg.core.seeding import environment_seed
from distpg.core.tasks import tasks_of_iteration
from distpg.dispatch.messages import Rules
from distpg.errors import EnvRunnersError, EpisodeError
from distpg.on_ray import admission
from distpg.on_ray.actor import RayEnvRunner, new_actors
from distpg.on_ray.group import RayEnvRunnerGroup
from distpg.on_ray.side_channel import SideChannel
from distpg.sampling.fingerprint import numerics_digest
from distpg.sampling.group import InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import env_runner_spec
from tests.conftest import FEW_CPUS, collect, policy_spec
from tests.determinism.test_worker_counts import as_bytes

pytestmark = pytest.mark.usefixtures("ray")

CALM = "tests.odd_environments:ShortOrLong"


class PidRunner(RayEnvRunner):
    """Tells its process, so that a test can do to it what the world does."""

    def pid(self) -> int:
        return os.getpid()


class Runners:
    """A group, its events, and the answers it should give."""

    def __init__(self, env_id: str = CALM, *, rules: Rules, **options: object) -> None:
        self.policy = policy_spec(CALM)
        kwargs = options.pop("env_kwargs", {})
        self.spec = env_runner_spec(
            TrainConfig(env_id=env_id, env_kwargs=kwargs, seed=2, env_reuse="always"), self.policy
        )
        self.events: list[Event] = []
        actors = new_actors(self.spec, FEW_CPUS, PidRunner)
        self.group = RayEnvRunnerGroup(self.spec, rules, actors, self.events.append, **options)
        self.weights = self.policy.initial_weights(0)

    def check(self, episodes: int = 12, per_task: int = 1, iteration: int = 0) -> None:
        tasks = tasks_of_iteration(iteration, episodes, per_task, 0)
        calm = env_runner_spec(TrainConfig(env_id=CALM, seed=2), self.policy)
        expected = collect(InProcessEnvRunnerGroup(calm), tasks, self.weights)
        assert as_bytes(collect(self.group, tasks, self.weights)) == as_bytes(expected)

    @property
    def kinds(self) -> Counter:
        return Counter(event.kind for event in self.events)

    def processes(self) -> list[int]:
        import ray

        return ray.get([runner.actor.pid.remote() for runner in self.group._runners.values()])


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[RayEnvRunnerGroup] = []
    original = RayEnvRunnerGroup.__init__

    def remember(self: RayEnvRunnerGroup, *args: object, **kwargs: object) -> None:
        made.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(RayEnvRunnerGroup, "__init__", remember)
    yield
    for group in made:
        group.close()


def test_all_runners_frozen_at_once() -> None:
    runners = Runners(rules=Rules(2, silent_after_s=1.0))
    runners.group.wait_for(2)
    runners.check(iteration=0)
    for process in runners.processes():
        os.kill(process, signal.SIGSTOP)
    runners.check(iteration=1)
    assert runners.kinds["env_runner_silent"] == 2


def test_killed_in_the_middle_again_and_again() -> None:
    runners = Runners(rules=Rules(3))
    runners.group.wait_for(3)
    for iteration in range(4):
        victim = runners.processes()[0]
        timer = threading.Timer(0.005, os.kill, (victim, signal.SIGKILL))
        timer.start()
        runners.check(episodes=24, iteration=iteration)
        timer.join()
        runners.group.wait_for(3)
    assert runners.kinds["env_runner_died"] == 4
    assert runners.group.num_restarts == 4


def test_an_episode_that_kills_its_process_is_named() -> None:
    runners = Runners(
        "tests.odd_environments:Deadly",
        rules=Rules(2, max_task_retries=2),
        env_kwargs={"seed": environment_seed(2, 13)},
    )
    with pytest.raises(EpisodeError, match="ends or hangs the process that plays episode 13") as caught:
        runners.check(episodes=24, per_task=6)
    assert caught.value.episode == 13
    assert runners.kinds["task_searched"] == 1


def test_an_exception_is_tried_once_elsewhere_and_then_said() -> None:
    runners = Runners("tests.odd_environments:Fails", rules=Rules(2), env_kwargs={"share": 0.2})
    with pytest.raises(EpisodeError, match="step 2: ValueError: the simulator broke"):
        runners.check(episodes=24)
    assert runners.kinds["episode_tried_elsewhere"] >= 2


def test_a_hanging_environment_is_found(tmp_path: Path) -> None:
    marker = tmp_path / "hung"
    runners = Runners(
        "tests.odd_environments:HangsOnce",
        rules=Rules(1, silent_after_s=1.0),
        env_kwargs={"seed": environment_seed(2, 5), "marker": str(marker)},
    )
    runners.check()
    assert marker.exists()
    assert runners.kinds["env_runner_silent"] == 1


def test_recycled_runners_answer_the_same() -> None:
    runners = Runners(rules=Rules(2, recycle_after=4))
    runners.check(episodes=80)
    assert runners.kinds["env_runner_recycled"] >= 3


def test_a_constructor_that_kills_is_given_up() -> None:
    runners = Runners("tests.odd_environments:DiesAtOnce", rules=Rules(2))
    with pytest.raises(EnvRunnersError, match="no runner starts"):
        runners.group.wait_for(1)


def test_wrong_answers_of_an_unrepeatable_environment_are_found_by_audits() -> None:
    unrepeatable = "tests.odd_environments:NeverTheSame"
    runners = Runners(unrepeatable, rules=Rules(2), audit_every=1, is_reproducible=False)
    tasks = tasks_of_iteration(0, 6, 1, 0)
    collect(runners.group, tasks, runners.weights)
    assert runners.kinds["answers_differ"] == 6
    assert "played twice gave two results" in runners.events[-1].why


def test_an_environment_that_never_repeats_is_used_and_said() -> None:
    runners = Runners("tests.odd_environments:NumpyRandom", rules=Rules(2))
    runners.group.wait_for(2)
    assert [event.why for event in runners.events if isinstance(event, NotReproducible)] == [
        "the environment plays differently each time"
    ]


def test_other_arithmetic_is_refused_or_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "numerics_digest", lambda spec: "another machine's")
    refused = Runners(rules=Rules(1))
    with pytest.raises(EnvRunnersError, match="no runner starts: refused, since its arithmetic differs"):
        refused.group.wait_for(1)
    mixed = Runners(rules=Rules(1), allow_mixed=True)
    mixed.check()
    assert mixed.kinds["env_runner_mixed"] == 1


def test_runners_import_no_torch_and_are_small() -> None:
    import ray

    @ray.remote(num_cpus=FEW_CPUS)
    class Probe(RayEnvRunner):
        def probe(self) -> tuple[bool, int, int]:
            import sys

            lines = Path("/proc/self/status").read_text().splitlines()
            sizes = {
                line.split(":")[0]: int(line.split()[1]) // 1024
                for line in lines
                if "Rss" in line or "RSS" in line
            }
            return "torch" in sys.modules, sizes["RssAnon"], sizes["VmRSS"]

    policy = policy_spec()
    spec = env_runner_spec(TrainConfig(env_reuse="always"), policy)
    numerics_digest(spec)  # the first process compiles, as the learner's does in a run; others load
    actor = Probe.remote(spec, 0, SideChannel("test", 1.0))
    ray.get(actor.join.remote())
    has_torch, own_mib, mib = ray.get(actor.probe.remote())
    ray.kill(actor)
    assert not has_torch
    # Half of what it maps are libraries, LLVM's above all, which all runners of a machine share.
    assert own_mib <= 120
    assert mib <= 230
