import gymnasium
import numpy as np
import pytest

from distpg.core.policies import preferences, softmax
from distpg.core.seeding import Stream, environment_seed, uniform, words
from distpg.environments.envs import make_env
from distpg.environments.making import EnvSpec
from distpg.errors import EpisodeError
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from tests.conftest import policy_spec

SPEC = policy_spec()
WEIGHTS = SPEC.initial_weights(0)


def slow_episode(episode: int, seed: int) -> tuple[np.ndarray, list[int], list[float], bool]:
    """The obvious way to play one episode."""
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=environment_seed(seed, episode))
    observations, actions, rewards = [], [], []
    while True:
        pi = softmax(preferences(WEIGHTS, np.array([observation], np.float32)))[0]
        t = len(actions)
        u = uniform(words(seed, Stream.ACTION, [episode], t - t % 4, 4))[:, t % 4]
        observations.append(observation)
        # The smallest action whose cumulative probability exceeds u.
        actions.append(int((np.cumsum(pi)[:-1] <= u).sum()))
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        rewards.append(float(reward))
        if terminated or truncated:
            return np.array(observations, np.float32), actions, rewards, terminated


@pytest.mark.parametrize("num_episodes", [1, 2, 5, 33])
def test_against_the_obvious_way(num_episodes: int) -> None:
    sampler = GymnasiumSampler(EnvSpec("CartPole-v1"), SPEC, seed=11)
    played = sampler.sample(7, num_episodes, WEIGHTS)
    expected = [slow_episode(episode, 11) for episode in range(7, 7 + num_episodes)]
    assert played.lengths.tolist() == [len(actions) for _, actions, _, _ in expected]
    assert played.actions.tolist() == [action for _, actions, _, _ in expected for action in actions]
    assert played.rewards.tolist() == [reward for _, _, rewards, _ in expected for reward in rewards]
    assert played.terminated.tolist() == [terminated for *_, terminated in expected]
    np.testing.assert_array_equal(played.observations, np.concatenate([o for o, *_ in expected]))
    sampler.close()


def test_episodes_longer_than_a_block_and_cut_by_the_limit() -> None:
    sampler = GymnasiumSampler(EnvSpec("CartPole-v1", max_episode_steps=300), SPEC, seed=0)
    upright = dict(WEIGHTS)
    # Push in the direction in which the pole falls: angle plus its velocity.
    upright["layers.0.weight"] = np.zeros((8, 4), np.float32)
    upright["layers.0.weight"][0, 2:], upright["layers.0.weight"][1, 2:] = 50, -50
    upright["layers.1.weight"] = np.zeros((2, 8), np.float32)
    upright["layers.1.weight"][1, 0], upright["layers.1.weight"][0, 1] = 1, 1
    played = sampler.sample(0, 3, upright)
    assert played.lengths.tolist() == [300, 300, 300]
    assert played.terminated.tolist() == [False, False, False]
    assert len(played.observations) == len(played.actions) == len(played.rewards) == 900


def test_a_used_sampler_plays_as_a_new_one() -> None:
    used, new = (GymnasiumSampler(EnvSpec("CartPole-v1"), SPEC, seed=3) for _ in range(2))
    used.sample(100, 9, WEIGHTS)
    again, first = used.sample(4, 5, WEIGHTS), new.sample(4, 5, WEIGHTS)
    assert again.observations.tobytes() == first.observations.tobytes()
    assert again.actions.tobytes() == first.actions.tobytes()


def test_actions_that_do_not_start_at_zero() -> None:
    spec = policy_spec("tests.odd_environments:OffsetActions")
    sampler = GymnasiumSampler(EnvSpec("tests.odd_environments:OffsetActions"), spec, seed=0)
    played = sampler.sample(0, 2, spec.initial_weights(0))
    assert set(played.actions.tolist()) == {0, 1, 2}
    assert (played.rewards == played.actions + 5.0).all()


def test_a_failing_environment_is_named_with_its_episode() -> None:
    env = EnvSpec("tests.odd_environments:Fails")
    spec = policy_spec(env.env_id)
    sampler = GymnasiumSampler(env, spec, seed=0)
    with pytest.raises(EpisodeError, match=r"episode \d+, step 2: ValueError: the simulator broke") as caught:
        sampler.sample(0, 20, spec.initial_weights(0))
    assert "reset seed" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "its observation is [nan]"),
        ("infinite", "its observation is [inf]"),
        ("too large", "its observation is [inf]"),
        ("shape", "an observation of shape (2,) instead of (1,)"),
        ("text", "could not convert string to float"),
        ("reward", "its reward is nan"),
        ("no reward", "TypeError: float() argument must be"),
    ],
)
def test_what_an_environment_must_not_give_is_named_with_episode_and_step(kind: str, message: str) -> None:
    env = EnvSpec("tests.odd_environments:Spoils", {"kind": kind})
    spec = policy_spec("tests.odd_environments:ShortOrLong")
    sampler = GymnasiumSampler(env, spec, seed=0)
    with pytest.raises(EpisodeError) as caught:
        sampler.sample(40, 3, spec.initial_weights(0))
    assert "Spoils failed in episode 4" in caught.value.message
    assert message in caught.value.message
    step = 1 if "reward" in kind or kind in ("shape", "text") else 2
    assert f"step {step}:" in caught.value.message


def test_steps_are_counted_for_whoever_asks() -> None:
    spec = policy_spec()
    sampler = GymnasiumSampler(EnvSpec("CartPole-v1"), spec, seed=0)
    played = sampler.sample(0, 5, spec.initial_weights(0))
    assert sampler.steps == played.lengths.sum() + 5 + 5  # as many resets, and environments made


@pytest.mark.parametrize("watched", [0, 2, None])
def test_episodes_end_at_the_limit_whichever_lane_keeps_its_wrappers(watched: int | None) -> None:
    """As in a replay with a video, whose episode's environment is wrapped once more."""
    env = EnvSpec("CartPole-v1", max_episode_steps=5)

    def make(lane: int) -> gymnasium.Env:
        plain = make_env(env)
        return gymnasium.Wrapper(plain) if lane == watched else plain

    played = GymnasiumSampler(env, SPEC, seed=11, make=make).sample(7, 3, WEIGHTS)
    assert played.lengths.tolist() == [5, 5, 5]
    assert not played.terminated.any()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_without_wrappers_an_environment_plays_the_same(env_id: str) -> None:
    spec = policy_spec(env_id)
    weights = spec.initial_weights(0)
    plain = GymnasiumSampler(EnvSpec(env_id), spec, seed=4).sample(0, 3, weights)
    wrapped = GymnasiumSampler(
        EnvSpec(env_id), spec, seed=4, make=lambda lane: gymnasium.Wrapper(make_env(EnvSpec(env_id)))
    ).sample(0, 3, weights)
    for name in ("observations", "actions", "rewards", "lengths", "terminated"):
        assert getattr(plain, name).tobytes() == getattr(wrapped, name).tobytes()
