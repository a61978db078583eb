"""The compiled sampler: against the one that plays Gymnasium's environments, and against itself."""

import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from distpg.core.policies import PolicySpec, Weights
from distpg.core.returns import discounted_returns
from distpg.core.tasks import Task
from distpg.environments.compiled import CompiledEnvironment
from distpg.environments.making import EnvSpec
from distpg.errors import EpisodeError
from distpg.sampling import compiled_sampler
from distpg.sampling.compiled_sampler import CompiledSampler, why_not_compiled
from distpg.sampling.env_runner import EnvRunner
from distpg.sampling.failures import StoppedError
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.sampling.sampler import PLAYS, Trajectories
from examples.compiled_environment import ROCKET

CARTPOLE = PolicySpec(4, (2,), (16,))


def weights_of(policy: PolicySpec, seed: int = 1) -> Weights:
    weights = policy.initial_weights(seed)
    if policy.normalisation == "running":
        weights["observations.mean"][:], weights["observations.scale"][:] = 0.01, 2
    return weights


def sampler_of(env: EnvSpec, policy: PolicySpec, **options: bool) -> CompiledSampler:
    sampler = CompiledSampler(env, policy, 11, 0.97, "to-go", **options)
    sampler.load(weights_of(policy))
    return sampler


def bits(played: Trajectories) -> str:
    arrays = (played.observations, played.actions, played.returns, played.lengths, played.terminated)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


POLICIES = {
    "two actions": ("CartPole-v1", PolicySpec(4, (2,), (33,), normalisation="running")),
    "linear": ("CartPole-v1", PolicySpec(4, (2,), (), 1)),
    "polynomial": ("CartPole-v1", PolicySpec(4, (2,), (), 3, normalisation="running")),
    "two hidden layers": ("CartPole-v1", PolicySpec(4, (2,), (20, 9))),
    "three actions": ("MountainCar-v0", PolicySpec(2, (3,), (8,))),
}


@pytest.mark.parametrize("case", POLICIES)
def test_episodes_are_those_of_the_other_sampler(case: str) -> None:
    """Nearly all to the bit: their arithmetic differs in the last ones, which seldom decides an action."""
    env_id, policy = POLICIES[case]
    env, number = EnvSpec(env_id, max_episode_steps=60), 2000 if case == "two actions" else 200
    compiled = sampler_of(env, policy, log_probs=True, rewards=True, finals=True).sample(3, number)
    plain = GymnasiumSampler(env, policy, 11, log_probs=True).sample(3, number, weights_of(policy))
    ends = np.cumsum(compiled.lengths)[:-1], np.cumsum(plain.lengths)[:-1]
    pairs = zip(np.split(compiled.actions, ends[0]), np.split(plain.actions, ends[1]), strict=True)
    same = np.array([one.tolist() == other.tolist() for one, other in pairs])
    assert same.mean() >= 0.98
    assert compiled.terminated[same].tolist() == plain.terminated[same].tolist()
    steps = np.repeat(same, compiled.lengths), np.repeat(same, plain.lengths)
    for name, tolerance in (("observations", 1e-6), ("rewards", 0), ("log_probs", 1e-5)):
        one, other = getattr(compiled, name)[steps[0]], getattr(plain, name)[steps[1]]
        np.testing.assert_allclose(one, other, atol=tolerance)
    np.testing.assert_allclose(compiled.final_observations[same], plain.final_observations[same], atol=1e-6)
    returns = discounted_returns(compiled.rewards, compiled.lengths, 0.97, "to-go")
    np.testing.assert_allclose(compiled.returns, returns, rtol=1e-6)
    np.testing.assert_allclose(
        compiled.episode_returns, plain.episode_returns, atol=60 if not same.all() else 0
    )


def test_the_same_returns_on_average() -> None:
    """Of 2,000 whole episodes each, within four standard errors of their difference."""
    env, number = EnvSpec("CartPole-v1"), 2000
    one = sampler_of(env, CARTPOLE).sample(0, number).episode_returns
    other = GymnasiumSampler(env, CARTPOLE, 11).sample(10**6, number, weights_of(CARTPOLE)).episode_returns
    assert abs(one.mean() - other.mean()) < 4 * np.sqrt((one.var() + other.var()) / number)


@pytest.mark.parametrize("case", POLICIES)
def test_bits_depend_on_no_lane_task_or_room(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env_id, policy = POLICIES[case]
    env = EnvSpec(env_id, max_episode_steps=70)
    whole = sampler_of(env, policy).sample(5, 150)
    monkeypatch.setattr(compiled_sampler, "LANES", 16)
    monkeypatch.setattr(compiled_sampler, "_TICKS", 4)
    assert bits(sampler_of(env, policy).sample(5, 150)) == bits(whole)
    sampler, ends = sampler_of(env, policy), np.cumsum(whole.lengths)
    for first, count in ((5, 1), (9, 30), (154, 1)):
        part = sampler.sample(first, count)
        start = 0 if first == 5 else int(ends[first - 6])
        steps = slice(start, int(ends[first + count - 6]))
        assert part.observations.tobytes() == whole.observations[steps].tobytes()
        assert part.actions.tolist() == whole.actions[steps].tolist()
        assert part.returns.tobytes() == whole.returns[steps].tobytes()


def test_bits_depend_on_no_thread() -> None:
    env, found = EnvSpec("CartPole-v1"), {}

    def play(number: int) -> None:
        found[number] = bits(sampler_of(env, CARTPOLE).sample(0, 300))

    threads = [threading.Thread(target=play, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert set(found.values()) == {bits(sampler_of(env, CARTPOLE).sample(0, 300))}


def test_the_most_probable_actions_and_what_keeps_no_steps() -> None:
    env = EnvSpec("CartPole-v1")
    compiled = sampler_of(env, CARTPOLE).sample(0, 40, play=PLAYS["greedy"], keeps_steps=False)
    plain = GymnasiumSampler(env, CARTPOLE, 11).sample(0, 40, weights_of(CARTPOLE), PLAYS["greedy"])
    assert compiled.lengths.tolist() == plain.lengths.tolist()
    assert len(compiled.observations) == len(compiled.actions) == 0


def test_total_returns() -> None:
    sampler = CompiledSampler(EnvSpec("CartPole-v1"), CARTPOLE, 0, 0.9, "total", rewards=True)
    played = sampler.sample(0, 20, weights_of(CARTPOLE))
    expected = discounted_returns(played.rewards, played.lengths, 0.9, "total")
    np.testing.assert_allclose(played.returns, expected, rtol=1e-6)


def test_tasks_in_one_call_are_those_one_by_one() -> None:
    spec = EnvRunnerSpec(EnvSpec("CartPole-v1"), CARTPOLE, 3, 0.99, "to-go", sampler="compiled")
    runner, tasks = EnvRunner(spec), [Task(10, 4, 0), Task(14, 7, 0), Task(21, 1, 0)]
    runner.load(weights_of(CARTPOLE))
    together = runner.answer(tasks)
    assert list(together.digests) == [runner.answer([task]).digests[0] for task in tasks]
    apart = runner.answer([tasks[2], tasks[0]])  # no run of episodes
    assert apart.digests == (together.digests[2], together.digests[0])


def endless(state: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: np.ndarray) -> None:
    for lane in range(state.shape[1]):
        rewards[lane], terminated[lane] = 1.0, False


def explodes(state: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: np.ndarray) -> None:
    for lane in range(state.shape[1]):
        state[0, lane] *= state[0, lane]
        rewards[lane], terminated[lane] = 1.0, False


ENDLESS = replace(ROCKET, step=endless, max_episode_steps=None)
LONG = replace(ROCKET, step=endless, max_episode_steps=2**40)
EXPLODES = replace(ROCKET, step=explodes)
HERE = "tests.sampling.test_compiled_sampler"


def test_an_episode_that_does_not_end() -> None:
    policy = PolicySpec(2, (2,), ())
    sampler = CompiledSampler(EnvSpec(f"{HERE}:ENDLESS"), policy, 0, 1.0, "to-go")
    with pytest.raises(EpisodeError, match="has not ended episode 7 after 100,000 steps"):
        sampler.sample(7, 2, weights_of(policy))


def test_a_state_that_is_not_finite() -> None:
    policy = PolicySpec(2, (2,), ())
    sampler = CompiledSampler(EnvSpec(f"{HERE}:EXPLODES"), policy, 0, 1.0, "to-go")
    with pytest.raises(EpisodeError, match=r"failed in episode 7.*not finite"):
        sampler.sample(7, 2, weights_of(policy))


def test_what_nobody_wants_is_stopped() -> None:
    policy = PolicySpec(2, (2,), ())
    sampler = CompiledSampler(EnvSpec(f"{HERE}:LONG"), policy, 0, 1.0, "to-go")

    def stop() -> None:
        while sampler.steps == 0:
            pass
        sampler.is_to_stop = True

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(StoppedError):
        sampler.sample(0, 16, weights_of(policy), keeps_steps=False)
    thread.join()
    assert sampler.steps > 0


def test_what_it_cannot_play() -> None:
    assert why_not_compiled(EnvSpec("CartPole-v1"), CARTPOLE) is None
    assert "no compiled form" in str(why_not_compiled(EnvSpec("Taxi-v4"), CARTPOLE))
    deep = PolicySpec(4, (2,), (8, 8, 8))
    assert "one or two hidden layers" in str(why_not_compiled(EnvSpec("CartPole-v1"), deep))
    assert isinstance(ROCKET, CompiledEnvironment)
