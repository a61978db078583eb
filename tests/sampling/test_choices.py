"""Compiled choices of several parts, of numbers and among what is legal, against the distributions meant."""

import statistics

import numpy as np
import pytest

from distpg.core.policies import PolicySpec, Weights, normalised, preferences
from distpg.core.seeding import Stream, words
from distpg.kernels.elementary import normal_quantile
from distpg.sampling.compiled_policy import CompiledPolicy, Steps

F32 = np.float32
ROWS, SEED, FIRST = 4000, 5, 7


def weights_of(spec: PolicySpec) -> Weights:
    rng = np.random.default_rng(1)
    return {name: rng.normal(scale=0.7, size=shape).astype(F32) for name, shape in spec.weight_shapes.items()}


def played(
    spec: PolicySpec, observations: np.ndarray, masks: np.ndarray | None = None, greedy: bool = False
) -> tuple[Steps, np.ndarray]:
    """The first step of as many lanes as there are observations, and what is played."""
    policy, count, parts = CompiledPolicy(spec), len(observations), len(spec.action_sizes)
    policy.load(weights_of(spec))
    dtype = np.int64 if spec.is_categorical else F32
    steps = Steps(observations[:, None], np.empty((count, 1, parts), dtype), np.empty((count, 1), F32))
    if masks is not None:
        steps = steps._replace(masks=masks[:, None])
    choices = np.empty((count, parts), dtype)
    numbers = np.array([SEED, Stream.ACTION, FIRST, greedy], np.uint64)
    policy.act(steps, choices, np.empty((count, parts, 4), np.uint32), np.arange(count), 0, 0, numbers)
    return steps, choices


def log_softmax(h: np.ndarray) -> np.ndarray:
    h = h.astype(np.float64)
    return (
        h
        - np.log(np.exp(h - h.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        - h.max(axis=1, keepdims=True)
    )


def observations_of(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size)).astype(F32)


def test_normal_quantiles_are_those_of_the_distribution() -> None:
    n = np.concatenate([np.arange(1, 3000), np.arange(2**22 - 1500, 2**22 + 1500), np.arange(0, 2**23, 3001)])
    exact = statistics.NormalDist()
    for p in ((n + 0.5) * 2.0**-23).astype(F32):
        found = normal_quantile(p)
        assert found == F32(found)
        assert found == pytest.approx(exact.inv_cdf(float(p)), rel=2e-6, abs=2e-7)


@pytest.mark.parametrize("greedy", [False, True])
def test_several_parts_are_independent_categories(greedy: bool) -> None:
    spec = PolicySpec(3, (2, 4, 3), (8,))
    observations = observations_of(ROWS, 3)
    steps, choices = played(spec, observations, greedy=greedy)
    np.testing.assert_array_equal(steps.actions[:, 0], choices)
    h, total, start = preferences(weights_of(spec), observations), np.zeros(ROWS), 0
    for part, size in enumerate(spec.action_sizes):
        log_pi = log_softmax(h[:, start : start + size])
        total += log_pi[np.arange(ROWS), choices[:, part]]
        below = np.cumsum(np.exp(log_pi), axis=1)
        u = (words(SEED, Stream.ACTION, FIRST + np.arange(ROWS), 0, 1, part)[:, 0] >> 8) * 2.0**-24
        expected = h[:, start : start + size].argmax(axis=1) if greedy else (u[:, None] >= below).sum(axis=1)
        assert np.mean(choices[:, part] != expected.clip(max=size - 1)) < 1e-3, (
            "but for the last bits of sums"
        )
        start += size
    np.testing.assert_allclose(steps.log_probs[:, 0], total, rtol=1e-5, atol=1e-5)


def test_what_is_illegal_has_probability_0() -> None:
    spec = PolicySpec(3, (5, 3), (8,))
    observations = observations_of(ROWS, 3)
    masks = np.random.default_rng(2).random((ROWS, 8)) < 0.5
    masks[:, [0, 6]] |= ~np.stack([masks[:, :5].any(axis=1), masks[:, 5:].any(axis=1)], axis=1)
    h = np.where(masks, preferences(weights_of(spec), observations), -np.inf)
    for greedy in (False, True):
        steps, choices = played(spec, observations, masks, greedy)
        rows = np.arange(ROWS)
        assert masks[rows, choices[:, 0]].all()
        assert masks[rows, 5 + choices[:, 1]].all()
        if greedy:
            assert choices[:, 0].tolist() == h[:, :5].argmax(axis=1).tolist()
        expected = log_softmax(h[:, :5])[rows, choices[:, 0]] + log_softmax(h[:, 5:])[rows, choices[:, 1]]
        np.testing.assert_allclose(steps.log_probs[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_masks_that_allow_everything_change_nothing() -> None:
    spec = PolicySpec(3, (5,), (8,))
    observations = observations_of(50, 3)
    free, masked = played(spec, observations), played(spec, observations, np.ones((50, 5), np.bool_))
    for one, other in zip(free[0][:3], masked[0][:3], strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("distribution", ["normal", "tanh-normal"])
@pytest.mark.parametrize("greedy", [False, True])
def test_numbers(distribution: str, greedy: bool) -> None:
    spec = PolicySpec(3, (1, 1), (8,), distribution=distribution)  # type: ignore[arg-type]
    weights, observations = weights_of(spec), observations_of(ROWS, 3)
    steps, choices = played(spec, observations, greedy=greedy)
    mean, deviation = preferences(weights, observations), np.exp(weights["log_deviations"])
    raw = steps.actions[:, 0]
    z = (raw - mean) / deviation
    if greedy:
        np.testing.assert_allclose(z, 0, atol=1e-5)
    else:
        for part in range(2):
            word = words(SEED, Stream.ACTION, FIRST + np.arange(ROWS), 0, 1, part)[:, 0]
            exact = [statistics.NormalDist().inv_cdf(p) for p in ((word >> 9) + 0.5) * 2.0**-23]
            np.testing.assert_allclose(z[:, part], exact, rtol=1e-3, atol=1e-4)
    expected = (-0.5 * z**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    if distribution == "tanh-normal":
        np.testing.assert_allclose(choices, np.tanh(raw), rtol=1e-6, atol=1e-7)
        x = raw.astype(np.float64)
        expected -= (2 * (np.log(2) - x - np.logaddexp(0, -2 * x))).sum(axis=1)
    else:
        np.testing.assert_array_equal(choices, raw)
    np.testing.assert_allclose(steps.log_probs[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_observations_are_scaled_as_the_weights_say(dtype: type) -> None:
    plain, scaled = PolicySpec(3, (4,), (8,)), PolicySpec(3, (4,), (8,), normalisation="running")
    observations = np.random.default_rng(0).integers(0, 256, (60, 3)).astype(dtype)
    weights = weights_of(scaled)
    seen = normalised(observations, weights)
    assert np.abs(seen).max() == 10, "further away is cut"
    assert seen[:, 0].tolist() == [
        float(np.clip((F32(x) - weights["observations.mean"][0]) * weights["observations.scale"][0], -10, 10))
        for x in observations[:, 0]
    ]
    found, expected = played(scaled, observations), played(plain, seen)
    assert found[1].tolist() == expected[1].tolist()
    assert found[0].log_probs.tobytes() == expected[0].log_probs.tobytes()
