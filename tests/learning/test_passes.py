"""Two passes over parts of a batch against the learner's one over all of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch, episodes_of
from distpg.core.policies import PolicySpec
from distpg.core.tasks import Task
from distpg.learning.learner import Learner
from distpg.learning.passes import AtRunners, Gathered, Question, Sums, fitted, statistics_of, wanted_by
from distpg.sampling.second_pass import SecondPass

SPECS = {
    "compiled": PolicySpec(4, (3,), (16,), normalisation="running"),
    "numbers": PolicySpec(4, (1, 1), (16,), distribution="normal"),
}


def batch_of(spec: PolicySpec, lengths: Sequence[int], seed: int = 0, constant: bool = False) -> EpisodeBatch:
    random, steps = np.random.default_rng(seed), sum(lengths)
    actions: Any = random.integers(0, 3, steps).astype(np.uint8)
    if not spec.is_categorical:
        actions = random.normal(size=(steps, 2)).astype(np.float32)
    returns = np.full(steps, 99.3) if constant else random.normal(3, 2, steps)
    return EpisodeBatch(
        random.normal(1, 2, (steps, 4)).astype(np.float32),
        actions,
        returns.astype(np.float32),
        np.array(lengths, np.int32),
        np.arange(len(lengths)),
        random.normal(size=len(lengths)),
        random.random(len(lengths)) < 0.5,
        0,
        log_probs=random.uniform(-2, -0.5, steps).astype(np.float32),
    )


def at_runners(config: TrainConfig, spec: PolicySpec, batch: EpisodeBatch, size: int) -> AtRunners:
    """The batch in tasks of so many episodes, of each of which another runner knows."""
    wanted = wanted_by(config)
    tasks = [
        Task(first, min(size, batch.num_episodes - first), 0) for first in range(0, batch.num_episodes, size)
    ]
    parts = [episodes_of(batch, *task[:2]) for task in tasks]
    runners = [SecondPass(spec, wanted, has_masks=False, seed=0) for _ in tasks]

    def ask(question: Question) -> list[Sums]:
        return [
            runner.answer(task._replace(question=1), question, lambda played, part=part: part)  # type: ignore[misc]
            for runner, task, part in zip(runners, tasks, parts, strict=True)
        ]

    return AtRunners(Gathered(tuple(statistics_of(part, wanted) for part in parts)), ask)


OPTIONS: list[dict[str, Any]] = [
    {"baseline": "none", "normalise_advantages": "none", "max_kl": None, "optimiser": "sgd"},
    {"baseline": "episode", "discount_weighting": True},
    {"baseline": "batch", "normalise_advantages": "standardise", "entropy_coef": 0.1},
    {"baseline": "timestep", "normalise_returns": "running", "max_kl": 1e-4},
    {"baseline": "timestep", "policy_lag": 1, "ratio_clip": 1.2, "max_grad_norm": 0.1},
]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("lengths", [[9, 30, 1, 70, 70, 4, 1], [5]])
def test_two_passes_give_what_one_does(name: str, options: dict[str, Any], lengths: list[int]) -> None:
    spec = SPECS[name]
    normal = spec.normalisation
    config = TrainConfig(normalise_observations=normal, hidden_sizes=(16,), **options)
    apart = TrainConfig(normalise_observations=normal, hidden_sizes=(16,), gradients="runners", **options)
    one, two = Learner(config, spec), Learner(apart, spec)
    for iteration in range(3):
        batch = batch_of(spec, lengths, iteration)
        expected = one.gradient(batch)
        found = two._gradient_at_runners(at_runners(apart, spec, batch, 3), config.entropy_coef)
        assert expected.flat is not None
        assert found.flat is not None
        assert np.linalg.norm(found.flat - expected.flat) <= 2e-6 * np.linalg.norm(expected.flat)
        for figure in ("loss", "norm", "policy_entropy", "return_variance", "advantage_variance"):
            assert getattr(found, figure) == pytest.approx(getattr(expected, figure), rel=1e-5, abs=1e-6)
        one.update(batch)
        two.update(at_runners(apart, spec, batch, 3))
        # From the same weights: small differences grow with each update.
        state = one.state
        for array, other in zip(state.observations.values(), two.state.observations.values(), strict=True):
            assert other == pytest.approx(array, rel=1e-9)
        assert two.state.returns.deviation == pytest.approx(state.returns.deviation, rel=1e-6)
        for key, weight in state.weights.items():
            assert two.weights[key] == pytest.approx(weight, abs=1e-5)
        two.restore(state)


@pytest.mark.parametrize("baseline", ["batch", "timestep"])
@pytest.mark.parametrize("normalisation", ["none", "rms", "standardise"])
def test_rounding_noise_is_no_signal_either(baseline: Any, normalisation: str) -> None:
    spec = SPECS["compiled"]
    config = TrainConfig(baseline=baseline, gradients="runners")
    same = at_runners(config, spec, batch_of(spec, [7, 7, 7], constant=True), 2)
    assert fitted(same.gathered, baseline, normalisation, 1.0).fit is None
    other = at_runners(config, spec, batch_of(spec, [7, 7, 7]), 2)
    assert fitted(other.gathered, baseline, normalisation, 1.0).fit is not None


def test_an_answer_does_not_depend_on_what_a_runner_has_kept() -> None:
    spec, config = SPECS["compiled"], TrainConfig(gradients="runners")
    wanted, batch = wanted_by(config), batch_of(spec, [5, 8])
    weights = spec.initial_weights(0)
    weights["observations.scale"][:] = 0.3
    fit = fitted(Gathered((statistics_of(batch, wanted),)), "timestep", "rms", 1.0).fit
    task, asked = Task(0, 2, 0), Question(weights, fit)

    def never(task: Task) -> EpisodeBatch:
        raise AssertionError(f"{task} was kept")

    keeper = SecondPass(spec, wanted, has_masks=False, seed=0)
    keeper.keep(task, batch)
    kept = keeper.answer(task._replace(question=1), asked, never)
    other = SecondPass(spec, wanted, has_masks=False, seed=0)
    other.keep(Task(2, 2, 0), batch_of(spec, [9, 9], 1))
    assert other.answer(task._replace(question=1), asked, lambda played: batch).digest == kept.digest


def test_episodes_are_kept_while_they_may_be_asked_about() -> None:
    spec, config = SPECS["compiled"], TrainConfig(gradients="runners", policy_lag=1)
    keeper = SecondPass(spec, wanted_by(config), has_masks=False, seed=0)
    for seq_no in (0, 0, 1, 2, 3):
        keeper.keep(Task(10 * seq_no, 2, seq_no), batch_of(spec, [3, 3]))
    assert sorted(task.weights_seq_no for task in keeper._kept) == [2, 3]
