import os
import random
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.environments import contract, trace
from distpg.environments.contract import FirstLook, first_look
from distpg.environments.making import EnvSpec
from distpg.environments.reproducibility import Verdict, examine, examine_and_keep
from distpg.errors import ConfigError, EnvironmentIdError
from distpg.training.prepare import prepare

ODD = "tests.odd_environments"
OBSERVATION = "np.zeros(1, np.float32)"


def look_at(name: str, **kwargs: object) -> FirstLook:
    return first_look(EnvSpec(f"{ODD}:{name}", kwargs), 60.0)


WRONG = [
    ("reward", "'1.5'", "reward is text: '1.5'", "float(reward)"),
    ("reward", "b'1.5'", "reward is text", "float(reward)"),
    ("reward", "np.array('1.5')", "reward is text", "float(reward)"),
    ("reward", "None", "reward is None", "0.0"),
    ("reward", "np.ones(1)", "reward is an array of shape (1,)", "float(reward[0])"),
    ("reward", "[1.0]", "reward is an array of shape (1,)", "float(reward[0])"),
    ("reward", "np.ones(2)", "reward is an array of shape (2,)", "scalarising wrapper"),
    ("reward", "(1.0, 2.0)", "reward is an array of shape (2,)", "scalarising wrapper"),
    ("reward", "1j", "reward is complex", "reward.real"),
    ("reward", "np.complex64(1)", "reward is complex", "reward.real"),
    ("reward", "{}", "reward is no number: {}", "float(reward)"),
    ("terminated", "'False'", "terminated is 'False', neither True nor False", "bool"),
    ("truncated", "[False]", "truncated is [False], neither", "bool"),
    ("terminated", "'True'", "terminated is 'True', neither", "bool"),
    ("terminated", "0.5", "terminated is 0.5, neither", "bool"),
    ("truncated", "np.zeros(2, bool)", "truncated is array([False, False]), neither", "bool"),
    ("observation", "np.zeros(1, complex)", "observation is of complex numbers", "x.real"),
    ("observation", "np.ma.zeros(1)", "observation is a masked array", "filled(0)"),
    ("observation", "np.array(['1'])", "observation is of text", "float32"),
    ("observation", "np.array([None])", "observation is of objects", "float32"),
    ("observation", "np.array(['2020'], 'M8[Y]')", "observation is of dates", "float32"),
    ("observation", "[[1], [1, 2]]", "observation is no array", "NumPy"),
    ("observation", "{'a': 1}", "observation is a dictionary", "observation_space should be a Dict"),
    (
        "observation",
        "np.zeros((1, 1))",
        "observation is of shape (1, 1), where its observation_space has (1,)",
        "",
    ),
    ("reset", OBSERVATION, "its reset returns the observation alone", "shimmy"),
    ("reset", "[0.0]", "its reset returns the observation alone", "shimmy"),
    ("reset", "None", "its reset returns None, not (observation, info)", "tuple"),
    ("reset", "()", "its reset returns (), not", "tuple"),
    ("step", f"({OBSERVATION}, 1.0, False, {{}})", "its step returns 4 values", "shimmy"),
    ("step", f"({OBSERVATION}, 1.0, False)", "its step returns 3 values", "all five"),
    ("step", "None", "its step returns None, not observation, reward,", "all five"),
]


@pytest.mark.parametrize(("part", "what", "message", "hint"), WRONG)
def test_data_that_would_be_wrong_in_silence(part: str, what: str, message: str, hint: str) -> None:
    with pytest.raises(EnvironmentIdError) as caught:
        look_at("Gives", part=part, what=what)
    assert f"{ODD}:Gives cannot be trained on: " in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


RIGHT = [
    *(
        ("reward", what)
        for what in ("1", "True", "np.float32(1)", "np.array(1.0)", "np.int8(1)", "np.bool_(1)")
    ),
    *(("terminated", what) for what in ("0", "1.0", "np.bool_(0)", "np.array([False])", "np.int64(1)")),
    *(("observation", what) for what in ("[0.5]", "np.ones(1, int)", "np.array([True])", "(1,)")),
    ("observation", "np.array([0.5], object)"),
    ("reset", f"[{OBSERVATION}, {{}}]"),
    ("reset", f"({OBSERVATION},)"),
    ("step", f"[{OBSERVATION}, 1.0, False, False, None]"),
]


@pytest.mark.parametrize(("part", "what"), RIGHT)
def test_data_that_is_right_however_it_comes(part: str, what: str) -> None:
    assert look_at("Gives", part=part, what=what).step_s > 0
    config = TrainConfig(
        env_id=f"{ODD}:Gives", env_kwargs={"part": part, "what": what}, num_env_runners=0, env_reuse="always"
    )
    with distpg.rollouts(config) as runners:
        assert runners.collect(0, runners.initial_weights).num_episodes == 4


def test_a_reset_without_options_and_train_and_doctor_alike(capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{ODD}:NoOptions cannot be trained on: its reset takes no options"
    assert main(["train", "--env-id", f"{ODD}:NoOptions", "--num-env-runners", "0"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {words}"
    assert "def reset(self, *, seed=None, options=None)" in hint
    assert main(["doctor", "--env-id", f"{ODD}:NoOptions"]) == 1
    report = capsys.readouterr().out
    assert f"fail  {words}. Write def reset" in report
    assert "reproducible" not in report


@pytest.mark.parametrize(
    ("observations", "actions", "message", "hint"),
    [
        ("Box(-1, 1, (1,))", "Discrete(2**40)", "has 1,099,511,627,776 actions", "at most 1,048,576"),
        ("Box(-1, 1, (0,))", "Discrete(2)", "has observations Box", "1 to 16,777,216 of them"),
        ("Box(0, 1, (2**13, 2**12))", "Discrete(2)", "has observations Box", "1 to 16,777,216"),
        ("Dict(a=Text(9))", "Discrete(2)", "has a Text as 'a' in its observations", "--drop-observations a"),
        ("Dict(a=Dict(b=Text(9)))", "Discrete(2)", "has a Text as 'a'", "--drop-observations a"),
        ("Sequence(Discrete(2))", "Discrete(2)", "has a Sequence in its observations", "No policy here"),
        ("Box(-1, 1, (1,))", "Text(9)", "has actions Text", "MultiDiscrete"),
        ("Box(-1, 1, (1,))", "Box(0, 9, (1,), int)", "has actions Box", "Box of floats"),
    ],
)
def test_spaces_that_cannot_be(observations: str, actions: str, message: str, hint: str) -> None:
    kwargs = {"observations": observations, "actions": actions}
    config = TrainConfig(env_id=f"{ODD}:OfSpaces", env_kwargs=kwargs, num_env_runners=0, env_reuse="always")
    with pytest.raises(ConfigError) as caught:
        prepare(config)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "what",
    [
        "SystemExit(0)",
        "GeneratorExit()",
        "KeyboardInterrupt()",
        "UnspeakableError()",
        "ValueError('x' * 9000)",
    ],
)
def test_whatever_a_constructor_raises_is_said(what: str) -> None:
    with pytest.raises(EnvironmentIdError) as caught:
        look_at("Raising", where="init", what=what)
    name = what.partition("(")[0]
    assert f"Raising cannot be made: {name}" in caught.value.message
    assert len(caught.value.message) < 2200
    spec = EnvSpec(f"{ODD}:Raising", {"where": "reset", "what": what})
    assert first_look(spec, 60.0).step_s == 0, "training says in which episode it was"
    spec.env_kwargs["where"] = "step"
    assert first_look(spec, 60.0).step_s > 0


def test_close_that_fails_or_hangs_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(
        env_id=f"{ODD}:Raising", env_kwargs={"where": "close"}, num_env_runners=0, env_reuse="always"
    )
    (warning,) = prepare(config).events
    assert str(warning).startswith("warning: why Raising could not be closed: SystemExit: 0")
    monkeypatch.setattr("distpg.environments.envs.CLOSE_S", 0.05)
    complaint = look_at("Raising", where="close", what="hang").complaint
    assert complaint == "Raising could not be closed: TimeoutError: it took more than 0.05 s"


@pytest.mark.parametrize(("where", "what"), [("init", "to be made"), ("step", "for its first steps")])
def test_what_hangs_is_ended(where: str, what: str) -> None:
    spec = EnvSpec(f"{ODD}:Raising", {"where": where, "what": "hang"})
    with pytest.raises(EnvironmentIdError) as caught:
        first_look(spec, 0.05)
    assert caught.value.message == f"{ODD}:Raising takes more than 0.05 s {what}"
    assert "--env-start-timeout-s" in caught.value.hint


def test_costs_and_ranges(tmp_path: Path) -> None:
    look = look_at("Takes", make_s=0.02, step_s=0.01, log=str(tmp_path / "log"))
    assert look.make_s >= 0.02
    assert look.step_s >= 0.01
    assert -10 <= look.low < look.high <= 10
    assert [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()] == [
        "made",
        *["step"] * 11,
    ]


def test_a_slow_environment_is_made_a_few_times_and_its_verdict_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "_ENOUGH_S", 0.0)
    log = tmp_path / "log"
    spec = EnvSpec(f"{ODD}:Takes", {"make_s": 0, "step_s": 0, "log": str(log)})
    look = first_look(spec, 60.0)
    assert len(log.read_text().splitlines()) == 3, "a reset and a step"
    monkeypatch.setattr(trace, "_DEAR_S", 0.0)
    plays = trace.traces(spec, 0.0)
    assert (set(plays.first), set(plays.used), set(plays.again)) == ({"0"}, {"0"}, set())
    assert len(plays.first["0"]) == 1 + 3
    assert log.read_text().count("made") == 2, "once each"
    assert examine_and_keep(spec, look.origin, look) == Verdict()


def test_the_processes_own_random_numbers_are_left_alone() -> None:
    random.seed(1)
    np.random.seed(1)
    for name in ("PythonRandom", "NumpyRandom"):
        look_at(name)
    found = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    assert found == (random.random(), np.random.random())


def test_an_environment_lives_in_its_own_world(in_tmp_path: Path) -> None:
    Path("data").mkdir()
    Path("data/reward").write_text("0.5")
    before = np.geterr()
    look = look_at("Moves", directory=str(in_tmp_path / "data"))
    assert look.step_s > 0
    assert Path.cwd() == in_tmp_path
    assert "ODD_ENVIRONMENT" not in os.environ
    assert np.geterr() == before


def registered_here(env_id: str, **options: object) -> TrainConfig:
    from tests.odd_environments import ShortOrLong

    entry_points = {"Mine-v0": ShortOrLong, "MyPole-v0": gymnasium.spec("CartPole-v1").entry_point}
    if env_id not in gymnasium.registry:
        gymnasium.register(id=env_id, entry_point=entry_points[env_id], max_episode_steps=9)
    return TrainConfig(env_id=env_id, max_iterations=1, **options)


@pytest.mark.parametrize("env_id", ["Mine-v0", "MyPole-v0"])
def test_what_the_calling_script_alone_registers_is_not_for_runners(
    env_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests have started Ray in this process; workers of a Ray that is there may know more.
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for number in (2, "auto"):
        with pytest.raises(ConfigError) as caught:
            prepare(registered_here(env_id, num_env_runners=number))
        assert caught.value.message.startswith(
            f"{env_id} is registered by the calling script alone, and runners do"
        )
        assert f"module:{env_id}" in caught.value.hint
    (event,) = prepare(registered_here(env_id, num_env_runners=0)).events
    assert "the calling script alone registers it" in str(event)
    assert prepare(registered_here(env_id, num_env_runners=0, env_reuse="always")).events == ()


def test_a_crash_of_native_code_names_the_environment() -> None:
    script = (
        "import ctypes, gymnasium, distpg\n"
        "from tests.odd_environments import ShortOrLong\n"
        "class Crashes(ShortOrLong):\n"
        "    def step(self, action):\n"
        "        ctypes.string_at(0)\n"
        "gymnasium.register(id='Crashes-v0', entry_point=Crashes, max_episode_steps=9)\n"
        "distpg.train(distpg.TrainConfig(env_id='Crashes-v0', num_env_runners=0, env_reuse='always'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode < 0
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert re.search(r'File "<string>", line 5 in step', done.stderr)


def test_a_crash_in_a_verdicts_process_is_said() -> None:
    spec = EnvSpec(f"{ODD}:Deadly", {"seed": trace.reset_seed(0)})
    why = "it ended the process that played it: signal 9 (Killed)"
    assert examine(spec) == Verdict(("unchecked",), why)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message", "hint"),
    [
        ("Taxi-v3", {}, "there is no environment 'Taxi-v3'", "Did you mean Taxi-v4?"),
        ("CartPole-v7", {}, "there is no environment 'CartPole-v7'", "Did you mean CartPole-v1?"),
        (f"{ODD}:Raising", {"where": "init"}, "cannot be made: SystemExit: 0", "Check --env-kwargs, "),
        (f"{ODD}:Raising", {}, "missing 1 required positional argument", "Check --env-kwargs, "),
        (f"{ODD}:DiesNot", {}, "there is no environment", "a module that can be imported"),
    ],
)
def test_hints_name_what_helps(env_id: str, kwargs: dict, message: str, hint: str) -> None:
    with pytest.raises(EnvironmentIdError) as caught:
        first_look(EnvSpec(env_id, kwargs), 60.0)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint) or hint in caught.value.hint


def test_what_ends_its_process_does_not_end_this_one_where_runners_play() -> None:
    prepared = prepare(TrainConfig(env_id=f"{ODD}:EndsItsProcess", num_env_runners=2))
    assert [event.kind for event in prepared.events] == ["env_not_checked"]
