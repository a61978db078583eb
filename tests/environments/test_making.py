"""Environments by id, module and factory, from a program itself, in wrappers, with numbers of their own."""

import json
import random
import signal
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.given import Given
from distpg.config.train_config import TrainConfig, config_to_json, deciding_options
from distpg.core.policies import PolicySpec
from distpg.environments.contract import first_look
from distpg.environments.envs import close_env, make_env
from distpg.environments.making import EnvSpec
from distpg.environments.reproducibility import Verdict, examine
from distpg.environments.speed import measure_speed
from distpg.environments.trace import legal_of
from distpg.environments.verdict_cache import verdict_key
from distpg.errors import OF_EVALUATION, ConfigError, EnvironmentIdError, EpisodeError
from distpg.runs.checkpoints import newest_checkpoint
from distpg.sampling.failures import runaway
from distpg.sampling.runner_spec import env_runner_spec
from distpg.system.generators import generators_kept
from distpg.training.evaluation import evaluate
from distpg.training.prepare import prepare
from distpg.training.rollouts import Rollouts
from distpg.training.runners import _check_it_travels
from tests.space_environments import STEPS, Guess, Masked

ENVS = "tests.space_environments"


def gives_none() -> dict:
    return {}


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
        (EnvSpec("tests.environments.test_making:gives_none"), "it gives dict, not a gymnasium.Env"),
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
    assert values["env_kwargs"] == {"a": "python:numpy:int64(3)", "b": [1]}
    assert values["wrappers"] == ["python:distpg.config.given:Given"]
    assert config.env_id.value is Guess


def test_what_json_would_not_give_back_is_named_by_what_it_is() -> None:
    given = {"a": (84, 84), "b": [{"x", 1}], "c": b"", "d": {"e": float("inf")}, "f": ((1, None), "x")}
    config = TrainConfig(env_kwargs=given)
    assert config.env_kwargs == given, "environments get the values"
    assert json.loads(config_to_json(config))["env_kwargs"] == {
        "a": "python:builtins:tuple(84, 84)",
        "b": ['python:builtins:set("x", 1)'],
        "c": "python:builtins:bytes(e3b0c44298fc1c14)",
        "d": {"e": "python:builtins:float(inf)"},
        "f": 'python:builtins:tuple("python:builtins:tuple(1, null)", "x")',
    }
    endless: list[Any] = []
    endless.append((endless,))
    with pytest.raises(ConfigError, match="--env-kwargs cannot be"):
        TrainConfig(env_kwargs={"a": endless})


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
    policy = distpg.load_policy("run", env_id=Guess)
    assert policy.act(np.int64(1)) in range(3)
    assert policy.act(np.int64(1), [False, True, False]) == 1
    with pytest.raises(ValueError, match="no legal action"):
        policy.act(np.int64(1), [False] * 3)


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


def test_an_interrupted_evaluation_is_made_again(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_iterations": 6, "evaluate_every": 2, "checkpoint_every": 100}
    straight = run("Pixels", Path("straight"), **options)
    whole = Rollouts.evaluate

    def interrupted(self: Rollouts, number: int, *args: Any) -> Any:
        if number == 1:
            signal.raise_signal(signal.SIGINT)
        return whole(self, number, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Rollouts, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("Pixels", Path("run"), **options)
    assert newest_checkpoint(Path("run").absolute()).progress.iterations == 3, "the last one without"
    distpg.resume("run")
    again = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [timeless(line) for line in again] == [timeless(line) for line in straight]


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if "time_" not in key and "per_s" not in key}


def test_an_evaluation_that_never_ends_is_not_a_training_episode() -> None:
    with pytest.raises(EpisodeError, match="has not ended evaluation episode 0 ") as caught:
        raise runaway("Guess", 0, is_evaluation=True)
    assert caught.value.episode == OF_EVALUATION


@pytest.mark.parametrize("where", ["info", "observation"])
def test_masks_count_even_where_nobody_could_look(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners would play with other choices than this process does."""
    unchecked = Verdict(("unchecked",), "it took too long")
    monkeypatch.setattr("distpg.training.prepare.examine_and_keep", lambda *_: unchecked)
    monkeypatch.setattr("distpg.training.prepare.known_verdict", lambda *_: None)
    monkeypatch.setattr("distpg.training.prepare.kept_verdict", lambda *_: None)
    config = TrainConfig(env_id=f"{ENVS}:Masked", env_kwargs={"where": where}, num_env_runners=2)
    prepared = prepare(config)
    assert (prepared.config.action_mask, prepared.policy.observation_size) == (where, 5)


def test_weights_for_other_observations_are_not_played(in_tmp_path: Path) -> None:
    run("Guess", Path("run"), max_iterations=1)
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "env_id": f"{ENVS}:Prices"}))
    with pytest.raises(ConfigError, match="is for other observations or actions"):
        evaluate("run", 1)


def test_what_a_wrapper_failed_to_wrap_is_closed() -> None:
    closed.clear()
    with pytest.raises(EnvironmentIdError, match="no"):
        make_env(EnvSpec("tests.environments.test_making:Closed", wrappers=(f"{__name__}:refuse",)))
    assert closed == ["yes"]


closed: list[str] = []


class Closed(Guess):
    def close(self) -> None:
        closed.append("yes")


def refuse(env: Any) -> Any:
    raise ValueError("no")


def test_a_verdict_is_of_the_factorys_file_too(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("made.py").write_text("from tests.space_environments import Guess\ndef make(): return Guess()\n")
    monkeypatch.syspath_prepend(str(in_tmp_path))
    before = verdict_key(EnvSpec("made:make"), Guess)
    Path("made.py").write_text(Path("made.py").read_text() + "# another\n")
    assert verdict_key(EnvSpec("made:make"), Guess) != before


def test_a_last_observation_that_counts_must_be_finite(in_tmp_path: Path) -> None:
    options = {"max_episode_steps": 5, "max_iterations": 1, "baseline": "value"}
    run("Lost", Path("without"), **options)
    with pytest.raises(EpisodeError, match=r"failed in episode 0, step 5: ValueError: its observation is"):
        run("Lost", Path("with"), gae_lambda=0.9, **options)


class Told(Guess):
    """Tells of masks."""

    def __init__(self, mask: Any = (1, 1, 1), acts: str = "Discrete(3)") -> None:
        super().__init__("Discrete(3)", acts)
        self._mask = mask

    def reset(self, **kwargs: Any) -> Any:
        observation, _ = super().reset(**kwargs)
        return observation, {"action_mask": np.array(self._mask)} if self._mask else {}


@pytest.mark.parametrize(
    ("kwargs", "mask", "message"),
    [
        ({"mask": (1, 1)}, "auto", r"its action_mask has shape \(2,\), not \(3,\)"),
        ({"mask": None}, "info", "its info has no action_mask"),
        ({"mask": None}, "observation", "have no part 'action_mask'"),
    ],
)
def test_masks_that_are_none_are_said_before_anything_starts(kwargs: dict, mask: str, message: str) -> None:
    spec = EnvSpec("tests.environments.test_making:Told", kwargs, action_mask=mask)
    with pytest.raises(EnvironmentIdError, match=message):
        first_look(spec, 60.0)


def test_actions_that_are_numbers_have_no_masks() -> None:
    kwargs = {"acts": "Box(-1, 1, (2,))", "mask": (1, 0)}
    spec = EnvSpec("tests.environments.test_making:Told", kwargs, action_mask="auto")
    assert first_look(spec, 60.0).action_mask == "none"


def test_what_is_no_wrapper_is_named() -> None:
    with pytest.raises(ConfigError, match="--wrappers cannot be 'scaled'"):
        TrainConfig(wrappers=("scaled",))
    with pytest.raises(EnvironmentIdError, match="test_making:nothing_of gives NoneType, not"):
        make_env(EnvSpec("CartPole-v1", wrappers=(f"{__name__}:nothing_of",)))


def nothing_of(env: Any) -> None:
    return None


def test_what_cannot_be_sent_to_runners_is_said_before_they_start() -> None:
    config = TrainConfig(
        env_id=Guess, env_kwargs={"observes": threading.Lock()}, num_env_runners=1, env_reuse="always"
    )
    spec = env_runner_spec(config, PolicySpec(1, (2,)))
    with pytest.raises(ConfigError, match=r"cannot be sent to runners: TypeError: cannot pickle"):
        _check_it_travels(spec)


def test_another_array_is_another_configuration() -> None:
    one, same, other = (TrainConfig(env_kwargs={"a": np.full(3, value)}) for value in (1.0, 1.0, 2.0))
    assert deciding_options(one) == deciding_options(same)
    assert deciding_options(one) != deciding_options(other)
