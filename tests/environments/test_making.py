"""Environments by id, module and factory, from a program itself, in wrappers, with numbers of their own."""

import json
import random
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.given import Given
from distpg.config.train_config import TrainConfig, config_to_json
from distpg.environments.contract import first_look
from distpg.environments.envs import close_env, make_env
from distpg.environments.generators import generators_kept
from distpg.environments.making import EnvSpec
from distpg.environments.reproducibility import Verdict, examine
from distpg.environments.speed import measure_speed
from distpg.environments.trace import legal_of
from distpg.errors import ConfigError, EpisodeError
from distpg.training.evaluation import evaluate
from tests.space_environments import STEPS, Guess, Masked

ENVS = "tests.space_environments"


def test_a_factory_its_arguments_and_wrappers() -> None:
    spec = EnvSpec(
        f"{ENVS}:snake", {"length": 7}, 5, (f"{ENVS}:twice", "gymnasium.wrappers:FlattenObservation")
    )
    env = make_env(spec)
    assert isinstance(env, gymnasium.wrappers.FlattenObservation)
    assert env.unwrapped.length == 7
    env.reset(seed=0)
    ends = [env.step(1)[2:4] for _ in range(5)]
    assert ends[-1] == (False, True), "cut after five steps"
    close_env(env)


def test_an_id_that_a_module_registers_comes_before_its_class() -> None:
    env = make_env(EnvSpec(f"{ENVS}:Guess"))
    assert env.spec is not None
    assert env.spec.id == "Guess"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EnvSpec(f"{ENVS}:STEPS"), "there is no environment"),
        (EnvSpec(f"{ENVS}:nothing"), "there is no environment"),
        (EnvSpec("math:sqrt"), "TypeError"),
        (EnvSpec("builtins:dict"), "it gives dict, not a gymnasium.Env"),
        (EnvSpec("CartPole-v1", wrappers=("math:nothing",)), "AttributeError"),
        (EnvSpec("CartPole-v1", wrappers=("no_module:nothing",)), "No module named 'no_module'"),
        (EnvSpec("python:__main__:Mine"), "is of the program that started the run"),
        (
            EnvSpec("CartPole-v1", {"data": "python:pandas:DataFrame"}),
            "python:pandas:DataFrame is of the program",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_made(spec: EnvSpec, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_env(spec)
    assert message in caught.value.message


def test_each_that_is_alive_has_a_number_of_its_own() -> None:
    spec = EnvSpec(f"{ENVS}:snake", number_kwarg="number")
    envs = [make_env(spec) for _ in range(3)]
    numbers = [env.unwrapped.number for env in envs]
    assert len(set(numbers)) == 3
    close_env(envs[0])
    again = make_env(spec)
    assert again.unwrapped.number == numbers[0], "given back when it is closed"
    for env in (*envs[1:], again):
        close_env(env)


def test_what_is_of_a_program_has_a_name_in_files() -> None:
    config = TrainConfig(env_id=Guess, env_kwargs={"a": np.int64(3), "b": [1]}, wrappers=(Given,))
    values = json.loads(config_to_json(config))
    assert values["env_id"] == "python:tests.space_environments:Guess"
    assert values["env_kwargs"] == {"a": "python:numpy:int64", "b": [1]}
    assert values["wrappers"] == ["python:distpg.config.given:Given"]
    assert config.env_id.value is Guess


def test_a_run_goes_on_with_what_the_program_had(in_tmp_path: Path) -> None:
    config = TrainConfig(
        env_id=Guess, num_env_runners=0, max_iterations=2, env_reuse="always", run_dir="run", stop_return=None
    )
    distpg.train(config)
    with pytest.raises(ConfigError, match="is of the program"):
        evaluate("run", 2)
    assert evaluate("run", 2, env_id=Guess).lengths.tolist() == [STEPS] * 2
    with pytest.raises(ConfigError, match="has another env_id"):
        evaluate("run", 2, env_id=Masked)
    assert distpg.resume("run", env_id=Guess, max_iterations=3).iterations == 3
    assert distpg.load_policy("run", env_id=Guess).act(np.int64(1)) in range(3)


def test_evaluation_in_another_form(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["--num-env-runners", "0", "--max-iterations", "1", "--quiet", "--run-dir", "run"]
    assert main(["train", "--env-id", f"{ENVS}:snake", *usual]) == 0
    options = ["--num-episodes", "3", "--episodes-at-once", "1"]
    assert main(["evaluate", "run", *options, "--env-kwargs", '{"length": 9}']) == 0
    assert main(["evaluate", "run", *options, "--env-kwargs", '{"nothing": 9}']) == 2
    assert "nothing" in capsys.readouterr().err


def test_global_generators_are_found_out_and_seeded(in_tmp_path: Path) -> None:
    verdict = examine(EnvSpec(f"{ENVS}:Snake-v0"))
    assert set(verdict.causes) == {"python_random", "numpy_random"}
    assert verdict.env_reuse == "seeded"
    assert verdict.why_not_reproducible("0") is None
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    events: list[Any] = []
    config = TrainConfig(env_id=f"{ENVS}:Snake-v0", num_env_runners=0, max_iterations=2, run_dir="run")
    result = distpg.train(config, distpg.training.trainer.Listeners(on_event=events.append))
    assert result.reproducible
    assert json.loads(Path("run/config.json").read_text())["env_reuse"] == "seeded"
    assert ["seeded at each reset" in str(event) for event in events].count(True) == 1
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before, "put back"


def test_generators_are_put_back_whatever_happens() -> None:
    before = random.getstate()

    def fails() -> None:
        random.random()
        raise KeyError

    with pytest.raises(KeyError), generators_kept():
        fails()
    assert random.getstate() == before


def test_another_fault_beside_is_not_mended() -> None:
    assert not examine(EnvSpec("tests.odd_environments:SetOrder")).is_seeded


def run(env_id: str, where: Path, **options: Any) -> list[dict]:
    config = TrainConfig(
        env_id=f"{ENVS}:{env_id}", num_env_runners=0, run_dir=str(where), env_reuse="always", **options
    )
    distpg.train(config)
    return [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("where", "steps"), [("info", 100_000), ("observation", 20_000)])
def test_an_illegal_action_is_never_played(in_tmp_path: Path, where: str, steps: int) -> None:
    """The environment raises at one."""
    lines = run("Masked", Path("run"), env_kwargs={"where": where}, max_env_steps=steps)
    assert lines[-1]["num_env_steps_sampled_lifetime"] >= steps
    assert lines[-1]["episode_return_mean_100"] > lines[9]["episode_return_mean_100"], "and it learns"
    assert json.loads(Path("run/config.json").read_text())["action_mask"] == where
    evaluate("run", 50)


@pytest.mark.parametrize("where", ["info", "observation"])
def test_nor_while_it_is_looked_at(where: str) -> None:
    spec = EnvSpec(f"{ENVS}:Masked", {"where": where}, action_mask="auto")
    assert measure_speed(spec, 0.01, 10.0).steps >= STEPS
    assert examine(spec) == Verdict()
    first_look(spec, 60.0)


def test_a_forbidden_part_of_an_action_is_another_one() -> None:
    env = gymnasium.Env()
    env.action_space = gymnasium.spaces.MultiDiscrete([2, 3], start=[0, 5])
    env.observation_space = gymnasium.spaces.Box(0, 1)
    info = {"action_mask": (np.array([True, False]), np.array([False, True, True]))}
    legal = legal_of(env, info)
    assert legal is not None
    assert [legal(action, None, info).tolist() for action in np.array([[0, 6], [1, 7], [1, 5]])] == [
        [0, 6],
        [0, 7],
        [0, 6],
    ]
    assert legal_of(env, {}) is None


def test_a_mask_without_a_legal_action_names_the_episode(in_tmp_path: Path) -> None:
    with pytest.raises(
        EpisodeError, match=r"failed in episode 0, step 4: ValueError: .* leaves no legal action"
    ):
        run("Masked", Path("run"), env_kwargs={"legal_until": 5})


def test_an_episode_that_never_ends(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distpg.sampling.gymnasium_sampler.RUNAWAY_STEPS", 300)
    with pytest.raises(
        EpisodeError, match=r"has not ended episode 0 .* give it one with --max-episode-steps"
    ):
        run("Guess", Path("run"), env_kwargs={"ends": False}, max_iterations=1)
    lines = run("Guess", Path("cut"), env_kwargs={"ends": False}, max_episode_steps=400, max_iterations=1)
    assert lines[0]["episode_len_mean"] == 400


@pytest.mark.parametrize(("env_id", "goal", "iterations"), [("Pixels", 20, 40), ("Prices", 45, 150)])
def test_numbers_of_any_size_are_learnt_from(
    in_tmp_path: Path, env_id: str, goal: float, iterations: int
) -> None:
    """With no option but the environment."""
    lines = run(env_id, Path("run"), max_iterations=iterations)
    assert max(line["episode_return_mean"] for line in lines) >= goal


def test_where_masks_are_is_seen_at_the_first_look() -> None:
    assert first_look(EnvSpec(f"{ENVS}:Masked", action_mask="auto"), 60.0).action_mask == "info"
    kwargs = {"where": "observation"}
    assert (
        first_look(EnvSpec(f"{ENVS}:Masked", kwargs, action_mask="auto"), 60.0).action_mask == "observation"
    )
    assert first_look(EnvSpec("CartPole-v1", action_mask="auto"), 60.0).action_mask == "none"


def test_evaluations_in_the_course_of_a_training(in_tmp_path: Path) -> None:
    lines = run("Pixels", Path("run"), max_iterations=9, evaluate_every=3, checkpoint_every=100)
    assert [line["training_iteration"] for line in lines if "evaluation_return_mean" in line] == [3, 6, 9]
    means = [line["evaluation_return_mean"] for line in lines if "evaluation_return_mean" in line]
    best = 3 * (1 + max(range(3), key=lambda k: (means[k], k)))
    assert evaluate("run", 1, checkpoint="best").iterations == best
