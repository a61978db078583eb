"""What a configuration may name, and what it may not: its author can be somebody else."""

import functools
import os
import pickle
from os import system as shell
from pathlib import Path

import gymnasium
import pytest

from distpg.config.train_config import TrainConfig
from distpg.environments.envs import make_env
from distpg.environments.making import EnvSpec, env_spec
from distpg.errors import DistpgError
from distpg.system.named import named

HERE = "tests.system.test_named"


class Mine(gymnasium.Env):
    pass


def make() -> Mine:
    return Mine()


partly = functools.partial(make)
hidden = functools.partial(shell)


@pytest.mark.parametrize("name", ["Mine", "make", "partly"])
def test_own_code_may_be_named(name: str) -> None:
    assert named(f"{HERE}:{name}", gymnasium.Env) is globals()[name]


@pytest.mark.parametrize(
    "name",
    ["numpy:load", "os:system", "subprocess:Popen", "torch:load", f"{HERE}:shell", f"{HERE}:hidden"],
)
def test_functions_of_libraries_may_not(name: str) -> None:
    with pytest.raises(TypeError, match="was not made to be named here"):
        named(name, gymnasium.Env)


class Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("unpickled",)


def test_no_configuration_has_a_file_unpickled(in_tmp_path: Path) -> None:
    Path("o.npy").write_bytes(pickle.dumps(Payload()))
    config = TrainConfig(env_id="numpy:load", env_kwargs={"file": "o.npy", "allow_pickle": True})
    with pytest.raises(DistpgError, match="was not made to be named here"):
        make_env(env_spec(config))
    with pytest.raises(DistpgError, match="was not made to be named here"):
        make_env(EnvSpec("CartPole-v1", wrappers=("pickle:loads",)))
    assert not Path("unpickled").exists()
