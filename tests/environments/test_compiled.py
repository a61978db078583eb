"""Compiled environments against Gymnasium's own, each step from the same state."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import distpg
from distpg.environments.compiled import OneLane, compiled_environment
from distpg.environments.making import EnvSpec
from examples.compiled_environment import ROCKET

IDS = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
# Steps of each of 1,000 episodes with random actions: Gymnasium's Acrobot takes 60 microseconds for one.
STEPS = {"CartPole-v1": 500, "Acrobot-v1": 12, "MountainCar-v0": 30}


@pytest.mark.parametrize("env_id", IDS)
def test_each_step_is_gymnasiums(env_id: str) -> None:
    compiled = compiled_environment(EnvSpec(env_id))
    assert compiled is not None
    one, env = OneLane(compiled), gymnasium.make(env_id, disable_env_checker=True)
    rng = np.random.default_rng(0)
    before, actions, after, seen, rewards, ends = [], [], [], [], [], []
    for seed in range(1000):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_allclose(one.reset(seed=seed)[0], observation, atol=1e-7)
        assert one._state[:, 0].tolist() == np.asarray(env.unwrapped.state, float).tolist()
        for _ in range(STEPS[env_id]):
            before.append(np.array(env.unwrapped.state, float))
            actions.append(int(rng.integers(env.action_space.n)))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            after.append(np.array(env.unwrapped.state, float))
            seen.append(observation)
            rewards.append(reward)
            ends.append(terminated)
            if terminated or truncated:
                break
    state, observed = np.array(before).T.copy(), np.empty((len(seen[0]), len(before)), np.float32)
    found, over = np.empty(len(before)), np.empty(len(before), np.bool_)
    one._step(state, np.array(actions), found, over)
    one._observe(state, observed)
    np.testing.assert_allclose(state, np.array(after).T, atol=1e-12, rtol=0)
    np.testing.assert_allclose(observed, np.array(seen).T, atol=1e-6, rtol=0)
    assert found.tolist() == rewards
    assert over.tolist() == ends


def test_what_is_played_one_by_one_is_gymnasiums_own_form() -> None:
    bounded = gymnasium.spaces.Box(-100, 100, (2,), np.float32)
    env = dataclasses.replace(ROCKET, observation_space=bounded)()
    check_env(env.unwrapped, skip_render_check=True)
    assert isinstance(env, gymnasium.wrappers.TimeLimit)


def test_what_has_no_compiled_form() -> None:
    named = EnvSpec("examples.compiled_environment:ROCKET")
    assert compiled_environment(named) is ROCKET
    assert compiled_environment(EnvSpec("CartPole-v1", {"sutton_barto_reward": True})) is None
    assert compiled_environment(EnvSpec("CartPole-v1", wrappers=("examples.factory:lake",))) is None
    assert compiled_environment(EnvSpec("CartPole-v0")) is None
    assert compiled_environment(EnvSpec("examples.factory:lake")) is None


def test_what_is_compiled_is_kept_for_the_same_constants_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ROCKET.key
    monkeypatch.setitem(ROCKET.step.__globals__, "GRAVITY", 3.7)
    assert ROCKET.key != before


def test_what_is_compiled_is_kept_for_these_functions_alone() -> None:
    again = dataclasses.replace(ROCKET, state_size=3)
    other = dataclasses.replace(ROCKET, observe=ROCKET.reset)
    assert ROCKET.key == again.key != other.key
    without: dict[str, object] = {}
    exec("def step(state, actions, rewards, terminated): pass", without)
    nowhere = distpg.CompiledEnvironment(
        ROCKET.reset, without["step"], ROCKET.observe, 2, ROCKET.observation_space, ROCKET.action_space
    )
    assert nowhere.key is None
    made = dataclasses.replace(ROCKET, step=lambda *arguments, rate=2: rate)
    assert made.key == dataclasses.replace(ROCKET, step=lambda *arguments: other).key is None


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (gymnasium.spaces.Box(0, 1, (2, 2)), gymnasium.spaces.Discrete(2)),
        (gymnasium.spaces.Box(0, 1, (2,), np.float64), gymnasium.spaces.Discrete(2)),
        (gymnasium.spaces.Box(0, 1, (2,)), gymnasium.spaces.Discrete(2, start=1)),
    ],
    ids=str,
)
def test_spaces_that_lanes_do_not_have(
    observations: gymnasium.spaces.Box, actions: gymnasium.spaces.Discrete
) -> None:
    with pytest.raises(ValueError, match="compiled environment"):
        distpg.CompiledEnvironment(ROCKET.reset, ROCKET.step, ROCKET.observe, 2, observations, actions)
