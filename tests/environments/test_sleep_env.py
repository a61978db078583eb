import math
import time
from pathlib import Path

import numpy as np
import pytest

from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.core.policies import PolicySpec
from distpg.core.seeding import environment_seed
from distpg.core.tasks import tasks_of_iteration
from distpg.environments.envs import make_env
from distpg.environments.making import EnvSpec
from distpg.errors import EnvironmentIdError
from distpg.sampling.group import InProcessEnvRunnerGroup
from distpg.sampling.runner_spec import env_runner_spec
from tests.conftest import collect

POLICY = PolicySpec(1, (2,), (4,))


def lengths_of(kwargs: dict, num_episodes: int) -> np.ndarray:
    config = TrainConfig(env_id="distpg/Sleep-v0", env_kwargs={"step_ms": 0, **kwargs}, seed=11)
    group = InProcessEnvRunnerGroup(env_runner_spec(config, POLICY))
    batch = collect(group, tasks_of_iteration(0, num_episodes, 500, 0), POLICY.initial_weights(0))
    group.close()
    assert batch.terminated.all(), "no episode is cut by the limit"
    assert (batch.episode_returns == batch.lengths).all()
    return batch.lengths


def test_constant_lengths_are_their_mean() -> None:
    assert (lengths_of({"mean": 7}, 50) == 7).all()
    assert (lengths_of({}, 3) == 20).all()
    assert (lengths_of({"mean": 1}, 3) == 1).all()


@pytest.mark.parametrize(("mean", "sigma"), [(20, 1), (20.5, 0.5), (200, 1)])
def test_lognormal_lengths_have_their_stated_mean_and_spread(mean: float, sigma: float) -> None:
    lengths = lengths_of({"length": "lognormal", "mean": mean, "sigma": sigma}, 4000)
    # Of a lognormal number: standard deviation = mean * sqrt(exp(sigma^2) - 1).
    standard_error = mean * math.sqrt(math.exp(sigma**2) - 1) / math.sqrt(len(lengths))
    assert abs(lengths.mean() - mean) < 3 * standard_error
    assert np.log(lengths).std() == pytest.approx(sigma, rel=0.1)
    assert np.median(lengths) == pytest.approx(mean * math.exp(-(sigma**2) / 2), rel=0.06)


def test_a_length_is_drawn_from_the_seed_alone() -> None:
    spec = EnvSpec("distpg/Sleep-v0", {"step_ms": 0, "length": "lognormal"})
    used, lengths = make_env(spec), []
    for episode in range(20):
        seed, played = environment_seed(0, episode), []
        for env, action in ((used, 0), (make_env(spec), 1)):
            env.reset(seed=seed)
            steps = 1
            while not env.step(action)[2]:
                steps += 1
            played.append(steps)
        assert played[0] == played[1]
        lengths.append(played[0])
    assert len(set(lengths)) > 10


def test_a_step_sleeps() -> None:
    env = make_env(EnvSpec("distpg/Sleep-v0", {"step_ms": 10, "mean": 3}))
    observation, _ = env.reset(seed=0)
    assert observation == np.zeros(1, np.float32)
    start = time.monotonic()
    observation, reward, terminated, truncated, _ = env.step(1)
    assert (reward, terminated, truncated) == (1.0, False, False)
    assert observation == np.float32(1 / 3)
    assert env.step(0)[2] is False
    assert env.step(1)[2] is True
    assert time.monotonic() - start >= 0.03, "a sleep never ends early"


def test_a_step_of_no_time_does_not_even_call_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    assert lengths_of({}, 2).sum() == 40


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"step_ms": -1}, "step_ms must be a number from 0 to 3600000, not -1"),
        ({"step_ms": "5"}, "step_ms must be a number from 0 to 3600000, not '5'"),
        ({"step_ms": True}, "step_ms must be a number from 0 to 3600000, not True"),
        ({"mean": 0}, "mean must be a number from 1 to 10000, not 0"),
        ({"mean": float("nan")}, "mean must be a number from 1 to 10000, not nan"),
        ({"mean": 2.5}, "mean must be a whole number of steps where length is constant, not 2.5"),
        ({"length": "lognormal", "sigma": 2}, "sigma must be a number from 0 to 1.5, not 2"),
        ({"length": "uniform"}, "length must be constant or lognormal, not 'uniform'"),
        ({"length": None}, "length must be constant or lognormal, not None"),
        ({"lenght": "constant"}, "unexpected keyword argument 'lenght'"),
    ],
)
def test_wrong_arguments(kwargs: dict, message: str) -> None:
    with pytest.raises(EnvironmentIdError) as caught:
        make_env(EnvSpec("distpg/Sleep-v0", kwargs))
    assert message in caught.value.message
    assert "distpg/Sleep-v0 cannot be made" in caught.value.message
    assert "--env-kwargs" in caught.value.hint


@pytest.mark.usefixtures("ray")
def test_it_is_known_wherever_environments_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--env-id", "distpg/Sleep-v0", "--env-kwargs", '{"step_ms": 1, "mean": 3}', "--quiet"]
    for runners in ("0", "2"):
        run = str(tmp_path / runners)
        options = ["--num-env-runners", runners, "--cpus-per-env-runner", "0.05", "--max-iterations", "2"]
        assert main(["train", *common, *options, "--run-dir", run]) == 0
        assert main(["replay", run, "--episode", "5"]) == 0
        assert "return 3, 3 steps, terminated" in capsys.readouterr().out
