"""Training that stands still says so once, and training that goes well never."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distpg
from distpg.config.train_config import TrainConfig
from distpg.core.events import Event, TrainingStalled
from distpg.core.summaries import Summary, summary_of
from distpg.errors import DivergenceError
from distpg.learning.learner import Gradient
from distpg.learning.stagnation import Watch
from distpg.runs.checkpoints import checkpoint_numbers
from distpg.training.trainer import Listeners
from tests.conftest import make_batch


def summary(returns: list[float], size: float = 1.0) -> Summary:
    made = make_batch([5] * len(returns))
    return summary_of(
        replace(
            made,
            observations=np.clip(made.observations, -1, 1) * np.float32(size),
            episode_returns=np.array(returns),
        )
    )


def gradient(norm: float = 0.0, entropy: float = 1e-9, is_noise: bool = False) -> Gradient:
    return Gradient(None, 0.0, norm, entropy, 1.0, 1.0, is_noise)


def said(
    returns: list[float],
    iterations: int = 30,
    goal: float | None = None,
    first: list[float] | None = None,
    size: float = 1.0,
    is_new: bool = True,
    **measured: Any,
) -> list[TrainingStalled]:
    watch = Watch(goal, is_new)
    found = watch.see(summary(first or returns), gradient(norm=100.0, entropy=0.7))
    for _ in range(iterations):
        found += watch.see(summary(returns, size), gradient(**measured))
    return found


def test_a_dead_policy_is_named_once_with_the_range_of_its_observations() -> None:
    assert said([0.0, 0.0], iterations=9) == []
    (event,) = said([0.0, 0.0], size=1000.0)
    assert "entropy 1e-09" in event.why
    assert "mean return of 0" in event.why
    assert "Observations range from -1000 to 1000: scale them" in event.hint
    (event,) = said([3.0, 4.0], norm=1e-5)
    assert "lower --lr" in event.hint
    assert len(said([200.0, 210.0], goal=475.0, first=[9.0, 10.0])) == 1, "better, but below the goal"
    assert len(said([12.0, 9.0], first=[9.0, 9.0], size=255.0)) == 1, "better by luck, and then dead"


def test_a_policy_that_may_be_good_or_still_learns_is_not() -> None:
    assert said([500.0] * 4, goal=475.0, first=[20.0]) == []
    assert said([500.0] * 4, first=[20.0]) == [], "no goal, and far better than at first"
    assert said([500.0] * 4, is_new=False) == [], "nobody knows how it began"
    assert said([9.0, 10.0], entropy=0.1) == []
    assert said([9.0, 10.0], norm=1.0) == []


def test_updates_that_are_skipped_as_noise() -> None:
    (event,) = said([2e6, 2e6 + 0.5], is_noise=True, entropy=0.7)
    assert "returns from 2000000 to 2000000.5 differ by no more than rounding noise" in event.why
    (event,) = said([1e-60, 2e-60], is_noise=True, entropy=0.7)
    assert "returns from 1e-60 to 2e-60 are too small for float32" in event.why
    assert said([500.0] * 4, is_noise=True, entropy=0.7) == [], "equal returns are no noise"
    assert said([-0.1 * 3, -(0.1 + 0.2)], is_noise=True, entropy=0.7) == [], "but for the sum's own rounding"


def train(run: Path, kwargs: dict, **options: Any) -> list[Event]:
    events: list[Event] = []
    defaults = {"max_iterations": 12, "checkpoint_every": 1, "normalise_observations": "none"}
    options = {**defaults, **options, "run_dir": str(run)}
    config = TrainConfig(
        env_id="tests.odd_environments:Unscaled",
        env_kwargs=kwargs,
        env_reuse="always",
        num_env_runners=0,
        **options,
    )
    distpg.train(config, Listeners(on_event=events.append))
    return [event for event in events if isinstance(event, TrainingStalled)]


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [({"size": 1e4, "times": 0}, "scale them"), ({"times": 0.1, "plus": 1e5}, "in common"), ({}, None)],
)
def test_in_a_run(tmp_path: Path, kwargs: dict, word: str | None) -> None:
    events = train(tmp_path / "run", kwargs)
    assert len(events) == (word is not None)
    assert word is None or word in events[0].hint


@pytest.mark.parametrize(
    ("kwargs", "options"),
    [({"times": 1e25}, {"normalise_advantages": "none"}), ({}, {"entropy_coef": 1e24})],
)
def test_squares_that_overflow_are_never_saved(tmp_path: Path, kwargs: dict, options: dict) -> None:
    with pytest.raises(DivergenceError, match="the square of the gradient is not finite in iteration 1"):
        train(tmp_path / "run", kwargs, **options)
    assert checkpoint_numbers(tmp_path / "run") == [0]
