"""The compiled policy against NumPy, against slow loops in the same order, and against float64."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distpg
from distpg.core.policies import PolicySpec, features, preferences, softmax
from distpg.core.seeding import MAX_EPISODE, Stream, environment_seed, philox4x32, uniform, words
from distpg.kernels.elementary import exp, log
from distpg.kernels.forward import NARROW
from distpg.kernels.philox import philox
from distpg.sampling.compiled_policy import CompiledPolicy, Steps, reset_seeds
from distpg.system.user_cache import private_directory

F32 = np.float32
SPECS = {
    "linear": PolicySpec(3, (2,)),
    "polynomial": PolicySpec(3, (4,), degree=3),
    "narrow": PolicySpec(4, (2,), (7, 5)),
    "mlp": PolicySpec(4, (2,), (128,)),
    "wide": PolicySpec(30, (18,), (64, 33)),
}


def acted(
    spec: PolicySpec,
    observations: np.ndarray,
    lanes: list[int],
    t: int = 0,
    seed: int = 3,
    greedy: bool = False,
) -> Steps:
    """Step ``t`` of some lanes; random numbers from the last step at which they are drawn."""
    policy = CompiledPolicy(spec)
    policy.load(spec.initial_weights(1))
    count, room = len(observations), t + 1
    steps = Steps(
        np.repeat(observations[:, None], room, axis=1),
        np.full((count, room, 1), -1, np.int64),
        np.full((count, room), np.nan, F32),
    )
    drawn = np.empty((count, 1, 4), np.uint32)
    for step in range(t - t % 4, t + 1):
        choices = np.empty((len(lanes), 1), np.int64)
        numbers = np.array([seed, Stream.ACTION, 2**40 + 5, greedy], np.uint64)
        policy.act(steps, choices, drawn, np.array(lanes), step, step, numbers)
        assert choices.tolist() == steps.actions[lanes, step].tolist()
    return steps


def observations_for(spec: PolicySpec, count: int = 37) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, spec.observation_size)).astype(F32)


def ulps(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.abs(found.astype(np.float64) - exact) / np.spacing(exact.astype(F32)).astype(np.float64)


def test_exponential_over_its_whole_range() -> None:
    x = np.concatenate([-np.logspace(-9, np.log10(87), 20_000), np.linspace(-87, 0, 20_001)[1:], [0.0]])
    x = x.astype(F32)
    x = x[x > F32(-87)]
    found = np.array([exp(one) for one in x])
    assert (found == found.astype(F32)).all()
    assert ulps(found, np.exp(x.astype(np.float64))).max() < 1
    assert exp(F32(0)) == 1
    for end in (-87, -100, -np.inf, np.nan):
        assert exp(F32(end)) == 0


def test_logarithm_of_sums_of_probabilities() -> None:
    x = np.concatenate([1 + np.logspace(-7, 0, 20_000), np.logspace(0, 9, 20_000)]).astype(F32)
    found = np.array([log(one) for one in x])
    exact = np.log(x.astype(np.float64))
    assert (found == found.astype(F32)).all()
    assert ulps(found[x > 1], exact[x > 1]).max() < 1
    assert log(F32(1)) == 0


def test_philox_is_the_one_of_every_other_random_number() -> None:
    rng = np.random.default_rng(0)
    found = np.empty(4, np.uint32)
    for _ in range(200):
        counter = [int(word) for word in rng.integers(2**32, size=4)]
        seed = int(rng.integers(2**64, dtype=np.uint64))
        philox(*map(np.uint64, counter), np.uint64(seed), found)
        assert found.tolist() == philox4x32(tuple(counter), seed).tolist()


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
@pytest.mark.parametrize("first", [0, 2**32 - 2, MAX_EPISODE - 4])
@pytest.mark.parametrize("stream", [Stream.ENVIRONMENT_SEED, Stream.EVALUATION_SEED])
def test_seeds_of_resets(seed: int, first: int, stream: Stream) -> None:
    assert reset_seeds(seed, stream, first, 5) == [
        environment_seed(seed, episode, stream) for episode in range(first, first + 5)
    ]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("t", [0, 2, 7])
def test_against_numpy(name: str, t: int) -> None:
    spec = SPECS[name]
    observations, weights = observations_for(spec), spec.initial_weights(1)
    pi = softmax(preferences(weights, features(observations, spec.degree)))
    lanes = list(range(len(observations)))
    found = acted(spec, observations, lanes, t)
    actions = found.actions[:, t, 0]
    assert np.allclose(found.log_probs[:, t], np.log(pi[lanes, actions]), rtol=1e-5, atol=1e-6)
    u = uniform(words(3, Stream.ACTION, 2**40 + 5 + np.arange(len(observations)), t - t % 4, 4))[:, t % 4]
    below = np.cumsum(pi.astype(np.float64), axis=1)
    for row, action in enumerate(actions.tolist()):
        # The smallest k with u < pi_0 + ... + pi_k, but for the last bits of either sum.
        assert u[row] < below[row, action] + 1e-6
        assert action == 0 or u[row] >= below[row, action - 1] - 1e-6
    greedy = acted(spec, observations, lanes, t, greedy=True).actions[:, t, 0]
    assert greedy.tolist() == pi.argmax(axis=1).tolist()


def slow_preferences(spec: PolicySpec, observation: np.ndarray) -> list[F32]:
    """One number after the other, in the order that the kernels promise."""
    weights = spec.initial_weights(1)
    x = list(features(observation[None], spec.degree)[0])
    last = len(spec.layer_sizes) - 2
    for layer in range(last + 1):
        weight, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
        h = []
        for unit in range(len(bias)):
            if len(bias) < NARROW:
                parts = [F32(0)] * 8
                whole = len(x) - len(x) % 8
                for k in range(whole):
                    parts[k % 8] = parts[k % 8] + x[k] * weight[unit, k]
                a, b, c, d, e, f, g, i = parts
                total = ((a + e) + (b + f)) + ((c + g) + (d + i))
                for k in range(whole, len(x)):
                    total = total + x[k] * weight[unit, k]
                total = total + bias[unit]
            else:
                total = bias[unit]
                for k in range(len(x)):
                    total = total + x[k] * weight[unit, k]
            h.append(total if layer == last else max(total, F32(0)))
        x = h
    return x


@pytest.mark.parametrize("name", SPECS)
def test_bit_for_bit_in_the_documented_order(name: str) -> None:
    spec = SPECS[name]
    observations = observations_for(spec, 5)
    found = acted(spec, observations, list(range(5)))
    for row in range(5):
        h = slow_preferences(spec, observations[row])
        highest, action = max(h), int(found.actions[row, 0, 0])
        total = F32(0)
        for one in h:
            total = total + exp(one - highest)
        assert found.log_probs[row, 0] == (h[action] - highest) - log(total)


@pytest.mark.parametrize("name", SPECS)
def test_no_row_depends_on_the_rows_beside_it(name: str) -> None:
    spec = SPECS[name]
    observations = observations_for(spec, 21)
    everyone = acted(spec, observations, list(range(21)), t=5)
    for lanes in ([4], [20, 3], [1, 2, 3, 5, 8, 13, 0, 7, 11], list(range(20, -1, -1))):
        some = acted(spec, observations, lanes, t=5)
        for array, other in ((some.actions, everyone.actions), (some.log_probs, everyone.log_probs)):
            assert array[lanes, 5].tobytes() == other[lanes, 5].tobytes()


def test_weights_that_are_not_finite_do_no_harm() -> None:
    spec = SPECS["mlp"]
    policy = CompiledPolicy(spec)
    for bad in (np.nan, np.inf, -np.inf):
        policy.load({name: np.full_like(w, bad) for name, w in spec.initial_weights(1).items()})
        steps = Steps(
            observations_for(spec, 3)[:, None], np.empty((3, 1, 1), np.int64), np.empty((3, 1), F32)
        )
        numbers = np.array([0, 1, 0, 0], np.uint64)
        policy.act(
            steps, np.empty((3, 1), np.int64), np.empty((3, 1, 4), np.uint32), np.arange(3), 0, 0, numbers
        )
        assert set(steps.actions[:, 0, 0].tolist()) <= {0, 1}


def test_a_directory_that_others_can_write_to_holds_no_code(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert private_directory(mine) == mine
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.chmod(0o720)
    assert private_directory(mine) is None
    mine.chmod(0o700)
    inner = mine / "a" / "b"
    assert private_directory(inner) == inner
    mine.chmod(0o777)
    assert private_directory(inner) is None, "who can write above can put another in its place"
    mine.chmod(0o1777)
    assert private_directory(inner) == inner, "as below /tmp"
    (tmp_path / "file").touch()
    assert private_directory(tmp_path / "file") is None


CHILD = """
import sys
from distpg.kernels.compile_cache import compile_cache, do_without_cache
if "--no" in sys.argv: do_without_cache()
from distpg.sampling.fingerprint import numerics_digest
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.core.policies import PolicySpec
from distpg.environments.making import EnvSpec
print(numerics_digest(EnvRunnerSpec(EnvSpec("CartPole-v1"), PolicySpec(4, (2,), (128,)), 0, 1.0, "to-go")))
from distpg.kernels import choice
print(sum(choice.tick_categories.stats.cache_hits.values()), compile_cache())
"""


def children(cache: Path, count: int = 1, *options: str) -> list[list[str]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, *options],
            env={**os.environ, "XDG_CACHE_HOME": str(cache), "NUMBA_CACHE_DIR": "/nonexistent"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    return [child.communicate()[0].split() for child in started]


def test_the_cache_is_used_by_the_next_process_and_can_be_left_out(tmp_path: Path) -> None:
    """Two compile at the same time, into the same directory."""
    first, second = children(tmp_path, 2)
    (third,) = children(tmp_path)
    assert first[0] == second[0] == third[0]
    assert third[1] == "1"
    assert Path(third[2]).parent == tmp_path / "distpg/compiled"
    (without,) = children(tmp_path / "other", 1, "--no")
    assert without == [first[0], "0", "None"]
    assert not (tmp_path / "other").exists()


def test_whatever_kernel_changes_nothing_compiled_before_is_used(tmp_path: Path) -> None:
    """Numba itself does not look at the files of the functions that a function calls."""
    package = Path(distpg.__file__).parent
    shutil.copytree(package, tmp_path / "distpg", ignore=shutil.ignore_patterns("__pycache__"))

    def cache() -> str:
        script = "from distpg.kernels.compile_cache import compile_cache; print(compile_cache())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True
        ).stdout.decode()

    before, changed = cache(), tmp_path / "distpg/kernels/philox.py"
    source = changed.read_text()
    changed.write_text(source.replace("range(10)", "range(7)"))
    assert cache() != before
    changed.write_text(source)
    assert cache() == before
