import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distpg.config.train_config import TrainConfig
from distpg.sampling.fingerprint import Fingerprint, fingerprint
from distpg.sampling.runner_spec import EnvRunnerSpec, env_runner_spec
from tests.conftest import policy_spec

CHILD = """
import sys
from tests.sampling.test_fingerprint import spec
from distpg.sampling.fingerprint import fingerprint
found = fingerprint(spec(sys.argv[1]))
print(found.numerics, found.environment)
"""


def spec(env_id: str = "CartPole-v1", hidden: tuple[int, ...] = (128,), **options: object) -> EnvRunnerSpec:
    return env_runner_spec(TrainConfig(env_id=env_id, **options), policy_spec(env_id, hidden))


def in_a_child(env_id: str, script: str = CHILD, **environment: str) -> tuple[str, str]:
    result = subprocess.run(
        [sys.executable, "-c", script, env_id],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, **environment},
    )
    numerics, environment_digest = result.stdout.split()
    return numerics, environment_digest


def test_the_same_at_each_call_and_in_each_process() -> None:
    found = fingerprint(spec())
    assert fingerprint(spec()) == found
    assert in_a_child("CartPole-v1", PYTHONHASHSEED="7") == (found.numerics, found.environment)
    assert len(found.numerics) == len(found.environment) == 64


def parts_that_differ(one: Fingerprint, other: Fingerprint) -> set[str]:
    return {part for part, value in one._asdict().items() if getattr(other, part) != value}


def test_each_part_tells_its_own_differences() -> None:
    found = fingerprint(spec())
    assert parts_that_differ(found, fingerprint(spec(hidden=(127,)))) == {"numerics"}
    assert parts_that_differ(found, fingerprint(spec(max_episode_steps=7))) == {"environment"}
    kwargs = {"sutton_barto_reward": True}
    assert parts_that_differ(found, fingerprint(spec(env_kwargs=kwargs))) == {"environment"}
    # Two runs of one environment and policy share it: it is about the machine, not about the seed.
    assert fingerprint(spec(seed=99)) == found


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernels are x86-64's")
def test_what_chooses_actions_does_not_depend_on_the_kind_of_cpu() -> None:
    others = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "", "MKL_CBWR": "COMPATIBLE"}
    assert in_a_child("CartPole-v1", **others) == in_a_child("CartPole-v1")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernels are x86-64's")
def test_another_kernel_of_the_learner_shows() -> None:
    script = """
from distpg.config.train_config import TrainConfig
from distpg.training.platform import platform_of
from tests.conftest import policy_spec
found = platform_of(TrainConfig(sampler="gymnasium"), policy_spec("CartPole-v1", (128,)))
print(found["numerics"], found["learner"])
"""
    pinned = in_a_child("CartPole-v1", script=script)
    other = in_a_child("CartPole-v1", script=script, MKL_CBWR="COMPATIBLE")
    assert pinned[0] == other[0]
    assert pinned[1] != other[1]


def test_an_environment_that_differs_between_processes_shows() -> None:
    one, other = (in_a_child("tests.odd_environments:SetOrder", PYTHONHASHSEED=seed) for seed in "01")
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_state_that_survives_reset_and_failures_do_not_count() -> None:
    for env_id in ("tests.odd_environments:SurvivesReset", "tests.odd_environments:Fails"):
        assert fingerprint(spec(env_id)) == fingerprint(spec(env_id))


def test_quick_and_without_torch_or_ray() -> None:
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        fingerprint(spec())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05
    script = (
        "import sys, distpg.sampling.fingerprint; print(*{'ray', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
