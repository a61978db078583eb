import tracemalloc

import numpy as np
import pytest

from distpg.core.policies import PolicySpec
from distpg.environments.spaces import Observations
from distpg.sampling import record as module
from distpg.sampling.record import Record, Shapes

POLICY = PolicySpec(1, (9,))


def shapes(shape: tuple[int, ...]) -> Shapes:
    kept = Observations(shape, np.dtype(np.float32), None, -np.inf, np.inf)
    return Shapes(kept, 1, np.int64, 0)


def played(lengths: list[int], shape: tuple[int, ...], keeps_steps: bool = True) -> tuple[Record, list]:
    """A record of episodes of these lengths, and what was put into it, episode by episode."""
    rng = np.random.default_rng(0)
    record = Record(len(lengths), shapes(shape), log_probs=True, keeps_steps=keeps_steps)
    expected: list[list] = [[] for _ in lengths]
    record.observations[:, 0] = first = rng.normal(size=(len(lengths), *shape))
    seen = first.astype(np.float32)
    for t in range(max(lengths)):
        if record.is_full:
            record.next_stretch()
        for lane, length in enumerate(lengths):
            if t < length:
                action, log_prob, reward = int(rng.integers(9)), rng.random(dtype=np.float32), rng.normal()
                record.steps.actions[lane, record.at] = action
                record.steps.log_probs[lane, record.at] = log_prob
                record.rewards[lane].append(reward)
                expected[lane].append((seen[lane].copy(), action, log_prob, reward))
                record.observations[lane, record.at + 1] = seen[lane] = rng.normal(size=shape)
        record.at += 1
    return record, expected


@pytest.mark.parametrize("stretch", [1, 2, 7, 128])
def test_laid_out_episode_by_episode(stretch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRETCH_STEPS", stretch)
    lengths = [5, 1, 21, 7, 14]
    record, expected = played(lengths, (2, 3))
    assert record.num_steps == sum(lengths)
    found = record.trajectories(POLICY)
    steps = [step for episode in expected for step in episode]
    assert found.lengths.tolist() == lengths
    np.testing.assert_array_equal(found.observations, np.array([o.reshape(-1) for o, *_ in steps]))
    assert found.actions.tolist() == [action for _, action, *_ in steps]
    assert found.log_probs is not None
    assert found.log_probs.tolist() == [log_prob for *_, log_prob, _ in steps]
    assert found.rewards.tolist() == [reward for *_, reward in steps]


@pytest.mark.parametrize("at", [0, 3, 4, 11])
def test_finds_what_is_not_finite_where_it_was_seen(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRETCH_STEPS", 4)
    found = None
    record = Record(2, shapes((3,)))
    record.observations[:, 0] = 0
    for t in range(12):
        if record.is_full:
            found = found or record.not_finite()
            record.next_stretch()
        record.observations[1, record.at] = np.nan if t == at else t
        record.observations[:, record.at + 1] = 0
        for rewards in record.rewards:
            rewards.append(0.0)
        record.at += 1
    found = found or record.not_finite()
    assert found is not None
    assert found[:2] == (1, at)
    # What comes after an episode's last step is seen by nobody.
    record = Record(1, shapes((3,)))
    record.observations[0, 1] = np.nan
    record.rewards[0].append(0.0)
    assert record.not_finite() is None


def peak_bytes(lengths: list[int], size: int, keeps_steps: bool) -> int:
    tracemalloc.start()
    try:
        record = Record(len(lengths), shapes((size,)), keeps_steps=keeps_steps)
        for _ in range(max(lengths)):
            if record.is_full:
                record.next_stretch()
            for rewards, length in zip(record.rewards, lengths, strict=True):
                if len(rewards) < length:
                    rewards.append(0.0)
            record.at += 1
        record.trajectories(POLICY)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_the_steps_or_of_one_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRETCH_BYTES", 2**20)
    lengths, size = [200] * 8, 1000
    steps = 4 * size * sum(lengths)
    assert peak_bytes(lengths, size, keeps_steps=False) < 0.3 * steps
    # With the arrays that it is laid out into: allocated at once, but filled as stretches are let go.
    assert peak_bytes(lengths, size, keeps_steps=True) < 2.3 * steps
