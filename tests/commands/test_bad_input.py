"""Whatever is typed or read wrong: one line with what is wrong, one with what to do, and nothing made."""

import dataclasses
import json
import os
import random
import socket
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distpg
from distpg.commands.cli import main
from distpg.commands.parser import parse
from distpg.commands.train import TrainOptions
from distpg.config.files import config_from_mapping
from distpg.config.option_types import option_name, options_of
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError
from tests.runs.test_checkpoints import rewrite_state

OPTIONS = {option.name: option for option in dataclasses.fields(TrainConfig)}
TYPES = {name: option.type for name, option in options_of(TrainConfig).items()}
RANGES = {name: option.range for name, option in options_of(TrainConfig).items() if option.range is not None}


def kinds(expected: Any) -> list[Any]:
    """The alternatives of a type: ``int | Literal["auto"] | None`` has three."""
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return [kind for argument in typing.get_args(expected) for kind in kinds(argument)]
    return [expected]


def is_number(name: str) -> bool:
    return bool({int, float, tuple[int, ...]} & set(kinds(TYPES[name])))


NO_NUMBERS = ["", " ", "x", "nan", "inf", "-inf", "1e400", "1,5", "--", "12½", "0x10", "[]", "9" * 5000 + "x"]
# In the order in which a type of several is looked up.
WORDS_OF: dict[Any, list[str]] = {
    str: ["", " ", "a\nb", "a\0b"],
    tuple[str, ...]: ["", " ", "a\nb", "a\0b"],
    tuple[str | Callable[..., Any], ...]: ["", " ", "a\nb", "a\0b"],
    float: NO_NUMBERS,
    int: [*NO_NUMBERS, "1.5", "1e3", "1.0", "9" * 5000],
    tuple[int, ...]: [*NO_NUMBERS, "1.5", "64,64", "[64]"],
    dict[str, Any]: [
        *("", "{", "[1]", "1", "null", '"text"', "{'a': 1}", '{"a": NaN}', '{"a": 1e400}', '{"a": Infinity}'),
        *("[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, "a=1"),
    ],
}


def wrong_words(name: str) -> list[str]:
    """What no value of the option looks like on the command line."""
    alternatives = kinds(TYPES[name])
    if bool in alternatives:
        return ["true", "1", "maybe", ""]
    for kind in WORDS_OF:
        if kind in alternatives:
            return WORDS_OF[kind]
    words = [word for kind in alternatives for word in typing.get_args(kind)]
    assert words, f"--{name} is of a type that this test does not know"
    return ["", "x", words[0].upper(), words[0] + "x", words[0][:-1], "0"]


def wrong_values(name: str) -> list[object]:
    """What a YAML file may hold that is no value of the option."""
    values: list[object] = [None, True, 1, 1.5, float("nan"), float("inf"), 10**400, "x", "", [], [1.5], {}]
    values += [[None], {1: 2}, {"a": {1, 2}}, {"a": b"x"}, {"a": float("nan")}, b"bytes", object()]
    right: list[Any] = []
    for kind in kinds(TYPES[name]):
        right += {
            float: [1, 1.5],
            int: [1],
            bool: [True],
            str: ["x"],
            dict[str, Any]: [{}],
            tuple[int, ...]: [[]],
            tuple[str, ...]: [[]],
            tuple[str | Callable[..., Any], ...]: [[]],
            type(None): [None],
        }.get(kind, [])
    return [value for value in values if not any(value == r and type(value) is type(r) for r in right)]


def misspelt(name: str) -> list[str]:
    """The option with a letter left out, doubled, and two exchanged; none that is an option itself."""
    text, rng = name.replace("_", "-"), random.Random(name)
    at = rng.randrange(1, max(2, len(text) - 1))
    found = {
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :] if at + 2 < len(text) else text + "x",
    }
    return sorted(word for word in found if word.replace("-", "_") not in OPTIONS)


def beyond(name: str) -> list[float]:
    """Numbers just outside the option's range, and far outside."""
    allowed, whole = RANGES[name], float not in kinds(TYPES[name])
    step = 1 if whole else 1e-9
    found: list[float] = []
    if allowed.low is not None:
        found += [allowed.low if allowed.above else allowed.low - step, -(10**9)]
        found += [] if whole or not allowed.above else [-0.0]
    if allowed.high is not None:
        found += [allowed.high + step, 10**30]
    return found


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))


def tree(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if "__pycache__" not in path.parts
    }


class Check:
    """Runs command lines that are wrong."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capture = capfd

    def __call__(self, *arguments: str, error: str = "", hint: str = "") -> None:
        before = tree(Path.cwd())
        code = main(list(arguments))
        captured = self._capture.readouterr()
        assert (code, captured.out) == (2, ""), (arguments, captured)
        check_lines(captured.err, error, hint)
        assert tree(Path.cwd()) == before, "something was made or changed"


def check_lines(errors: str, error: str = "", hint: str = "") -> None:
    lines = errors.split("\n")
    assert len(lines) == 3, errors
    assert lines[0].startswith("error: "), errors
    assert lines[1].startswith("hint: "), errors
    assert min(len(lines[0]), len(lines[1])) > len("error: ..")
    assert lines[2] == ""
    assert all(line.isprintable() for line in lines)
    assert error in lines[0], errors
    assert hint in lines[1], errors


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Check:
    return Check(capfd)


# Every option of train, from its type and range alone.


@pytest.mark.parametrize("name", OPTIONS)
def test_of_the_wrong_type(refused: Check, name: str) -> None:
    for number, word in enumerate(wrong_words(name)):
        refused("train", f"{option_name(name)}={word}")
        if number < 4:
            refused("train", "--seed", "0", option_name(name), word)


@pytest.mark.parametrize("name", OPTIONS)
def test_of_the_wrong_type_in_a_file(name: str) -> None:
    for value in wrong_values(name):
        with pytest.raises(ConfigError) as caught:
            config_from_mapping({name: value}, None, "a file")
        assert option_name(name) in caught.value.message, value


@pytest.mark.parametrize("name", [name for name in OPTIONS if is_number(name)])
def test_out_of_range(refused: Check, name: str) -> None:
    for number in beyond(name):
        refused("train", option_name(name), str(number), error=option_name(name))
        value = (number,) if tuple[int, ...] in kinds(TYPES[name]) else number
        with pytest.raises(ConfigError):
            config_from_mapping({name: value}, None, "a file")


def test_every_number_has_a_range() -> None:
    assert set(RANGES) == {name for name in OPTIONS if is_number(name)}


@pytest.mark.parametrize("name", OPTIONS)
def test_misspelt(refused: Check, name: str) -> None:
    for word in misspelt(name):
        refused("train", f"--{word}", "1", error=f"there is no option --{word}", hint="Did you mean --")
        with pytest.raises(ConfigError, match="there is no option") as caught:
            config_from_mapping({word: 1}, None, "a file")
        assert caught.value.hint.startswith("Did you mean ")


@pytest.mark.parametrize("name", [name for name in OPTIONS if TYPES[name] is not bool])
def test_without_its_value(refused: Check, name: str) -> None:
    if typing.get_origin(TYPES[name]) is tuple:
        assert getattr(parse(TrainOptions(), "", [option_name(name)]).training, name) == ()
        return
    refused("train", option_name(name), error=f"{option_name(name)} needs a value")
    refused("train", option_name(name), "--seed", "1", error=f"{option_name(name)} needs a value")
    refused("train", option_name(name), "-x", error=option_name(name))


# Forms that are right.


def test_an_equals_sign_a_repetition_and_a_negative_number() -> None:
    def of(*arguments: str) -> TrainConfig:
        return parse(TrainOptions(), "distpg train", arguments).training

    assert of("--lr=0.5", "--lr", "0.25", "--seed=-0") == TrainConfig(lr=0.25, seed=0)
    assert of("--stop-return", "-200").stop_return == -200
    assert of("--stop-return=-2e2").stop_return == -200
    assert of("--run-dir=-x").run_dir == "-x"
    assert of("--run-dir=a=b").run_dir == "a=b"
    assert of("--env-id", "日本-v1").env_id == "日本-v1"
    assert of("--gamma", "-0.0").gamma == 0
    assert of("--hidden-sizes=32").hidden_sizes == (32,)
    assert of("--hidden-sizes", "32", "--hidden-sizes", "64", "64").hidden_sizes == (64, 64)


# Command lines.

LINES = [
    (["trian"], "there is no command 'trian'", "distpg train"),
    ([""], "there is no command ''", "--help"),
    (["--trian"], "there is no command", ""),
    (["TRAIN"], "there is no command", ""),
    (["train", "-"], "there is no option -", ""),
    (["train", ""], "unexpected argument ''", ""),
    (["train", "---seed", "1"], "---seed", "Did you mean --seed?"),
    (["train", "-seed", "1"], "-seed", "Did you mean --seed?"),
    (["train", "--Seed", "1"], "--Seed", "Did you mean --seed?"),
    (["train", "--="], "there is no option --", ""),
    (["train", "--seed", "1", "2"], "unexpected argument '2'", ""),
    (["train", "--lr", "1", "--lr", "x"], "--lr", ""),
    (["train", "--no-quiet"], "--no-quiet", "--quiet"),
    (["train", "--quiet=yes"], "yes", ""),
    (["train", "@options"], "unexpected argument '@options'", ""),
    (["train", "--preset", "atari"], "--preset", "article or cartpole"),
    (["train", "--preset", ""], "--preset", "article or cartpole"),
    (["train", "--baseline", "episode", "--returns", "total"], "--baseline episode", "--returns to-go"),
    (["train", "--discount-weighting", "--returns", "total"], "discount twice", "--returns to-go"),
    (["train", "--lr-schedule", "linear"], "go together", "both"),
    (["train", "--lr-decay-env-steps", "5"], "go together", "both"),
    (
        ["train", "--entropy-schedule", "linear", "--entropy-decay-env-steps", "5"],
        "needs an --entropy-coef",
        "Give it",
    ),
    (["train", "--value-minibatch-size", "64"], "needs --baseline value", "Give it"),
    (["train", "--num-env-runners", "0", "--address", "auto"], "--address has no meaning", "Leave"),
    (["train", "--num-env-runners", "2", "--min-env-runners", "3"], "--min-env-runners", "Lower"),
    (["resume"], "needs a run directory", "Example"),
    (["resume", ""], "needs a run directory", "Example"),
    (["resume", "missing"], "missing is not a run directory", ""),
    (["resume", "a" * 5000], "is not a run directory", ""),
    (["resume", "a\0\x1b[31mb"], r"a\x00\x1b[31mb is not a run directory", ""),
    (["resume", "one", "two"], "unexpected argument 'two'", ""),
    (["resume", "missing", "--sed", "1"], "--sed", "--seed"),
    (["evaluate"], "needs a run directory", "Example"),
    (["evaluate", "missing", "--num-episodes", "0"], "--num-episodes", ""),
    (["evaluate", "missing", "--num-episodes", "-3"], "--num-episodes", ""),
    (["evaluate", "missing", "--num-episodes", "1e3"], "--num-episodes", "whole number"),
    (["evaluate", "missing", "--greedy", "--sampled"], "exclude each other", ""),
    (["evaluate", "missing", "--greeedy"], "--greeedy", "--greedy"),
    (["replay", "--episode", "3"], "needs a run directory", ""),
    (["replay", "missing"], "needs --episode", ""),
    (["replay", "missing", "--episode", "1.5"], "--episode", "whole number"),
    (["plot"], "needs a run directory", ""),
    (["plot", "missing"], "missing", ""),
    (["plot", "--output"], "--output needs a value", ""),
]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"), LINES, ids=[" ".join(line[0])[:40] for line in LINES]
)
def test_command_lines(refused: Check, arguments: list[str], error: str, hint: str) -> None:
    refused(*arguments, error=error, hint=hint)


# Config files.

FILES: dict[str, tuple[str | bytes, str]] = {
    "no YAML": ("seed: [", "is not YAML"),
    "tabs": ("seed:\t1\n\tlr: 3", "is not YAML"),
    "a list": ("- seed\n- 1", "holds no options"),
    "a text": ("seed=1", "holds no options"),
    "a number": ("7", "holds no options"),
    "two documents": ("seed: 1\n---\nseed: 2", "is not YAML"),
    "unknown key": ("sede: 1", "there is no option 'sede'"),
    "key of another type": ("1: 2", "there is no option '1'"),
    "key that is a list": ("? [a, b]\n: 2", "is not YAML"),
    "empty key": ('"": 2', "there is no option ''"),
    "no value": ("seed:", "--seed cannot be None"),
    "text for a number": ("lr: fast", "--lr cannot be 'fast'"),
    "number with a unit": ("sample_timeout_s: 20s", "--sample-timeout-s"),
    "hex in text": ("seed: '0x10'", "--seed"),
    "yes": ("seed: yes", "--seed cannot be True"),
    "date": ("seed: 2020-01-01", "--seed"),
    "date in arguments": ("env_kwargs: {day: 2020-01-01}", "--env-kwargs"),
    "set in arguments": ("env_kwargs: {days: !!set {a, b}}", "--env-kwargs"),
    "bytes in arguments": ("env_kwargs: {data: !!binary aGVsbG8=}", "--env-kwargs"),
    "number as a key of arguments": ("env_kwargs: {1: 2}", "--env-kwargs"),
    "infinite": ("gamma: .inf", "--gamma cannot be inf"),
    "more digits than Python reads": ("seed: " + "9" * 5000, "is not YAML"),
    "more than a float holds": ("lr: 1" + "0" * 400, "--lr"),
    "binary": (bytes(range(256)), "cannot read"),
    "NUL": (b"seed: 1\0", "is not YAML"),
    "Latin-1": ("env_id: é".encode("latin-1"), "not UTF-8 text"),
    "UTF-16": ("seed: 1".encode("utf-16"), "not UTF-8 text"),
    "object": ("seed: !!python/object/apply:os.mkdir [made]", "is not YAML"),
    "name": ("seed: !!python/name:os.system", "is not YAML"),
    "module": ("seed: !!python/module:os", "is not YAML"),
    "own tag": ("seed: !mine 3", "is not YAML"),
    "alias": ("seed: &a 1\nmax_iterations: *a", "aliases are not allowed"),
    "itself": ("env_kwargs: &a {x: *a}", "aliases are not allowed"),
    "alias not there": ("seed: *a", "is not YAML"),
    "twice": ("seed: 1\nlr: 2\nseed: 1", "'seed' stands there twice"),
    "twice, spelt differently": ("lr_schedule: linear\nlr-schedule: constant", "stands there twice"),
    "twice within": ("env_kwargs: {a: 1, a: 2}", "'a' stands there twice"),
    "deep": ("[" * 20_000, "is not YAML"),
    "huge": ("seed: 1\n#" + "x" * 2**20, "larger than"),
    "two that contradict": ("lr_schedule: linear", "go together"),
    "preset": ("preset: atari", "--preset cannot be 'atari'"),
    "preset that is a list": ("preset: [article]", "--preset cannot be"),
    "JSON cut off": ('{"seed": 1, "lr"', "is not YAML"),
    "path with a line end": ('run_dir: "a\\nb"', "--run-dir"),
}


@pytest.mark.parametrize("name", FILES)
def test_config_files(refused: Check, name: str) -> None:
    content, error = FILES[name]
    Path("c.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    refused("train", "--config", "c.yaml", error=error)


def test_what_is_no_config_file(refused: Check) -> None:
    Path("directory").mkdir()
    refused("train", "--config", "missing.yaml", error="cannot read missing.yaml: No such file")
    refused("train", "--config", "directory", error="Is a directory")
    refused("train", "--config", "", error="cannot read")
    refused("train", "--config", "a" * 5000, error="cannot read")
    refused("train", "--config", "/dev/zero", error="larger than")
    refused("train", "--config", "a\0b", error="a\\x00b")


# Paths.


def test_paths(refused: Check, run: Path) -> None:
    Path("file").write_text("x")
    Path("full").mkdir()
    Path("full/file").touch()
    Path("loop").symlink_to("loop")
    refused("train", "--run-dir", "file", error="cannot write to file")
    refused("train", "--run-dir", "file/below", error="cannot write to file/below")
    refused("train", "--run-dir", "full", error="has something in it already", hint="never overwritten")
    refused("train", "--run-dir", "loop", error="cannot write to loop")
    refused("train", "--run-dir", "a" * 300, error="cannot write to")
    refused("train", "--record-dispatch", "nodir/flight", error="nodir is not a directory")
    refused("train", "--run-dir", "/proc/nowhere", error="cannot write to /proc/nowhere")
    refused("resume", "file", error="file is not a run directory")
    refused("resume", "full", error="full is not a run directory")
    refused("plot", "file", error="file")
    refused("evaluate", str(run), "--video", "v.avi", error="--video cannot be v.avi", hint=".gif or .webp")
    refused("evaluate", str(run), "--video", "nodir/v.gif", error="nodir is not a directory")
    refused("replay", str(run), "--episode", "0", "--video", "nodir/v.gif", error="nodir is not a directory")
    refused("plot", str(run), "--output", "nodir", error="nodir is not a directory")


def test_a_directory_that_must_not_be_written(refused: Check) -> None:
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):
        pytest.skip("root may write anywhere")
    refused("train", "--run-dir", "locked", error="cannot write to locked: Permission denied")
    refused("train", "--run-dir", "locked/run", error="cannot write to locked/run: Permission denied")


# Environments.

MODULES = {
    "raises": "raise RuntimeError('no licence\\nfor this machine')",
    "exits": "import sys; sys.exit(3)",
    "broken": "def f(:",
    "registers_nothing": "",
    "mine": """
import gymnasium, numpy as np
class Env(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
class Raises(Env):
    def __init__(self):
        raise ValueError("no such level\\n" * 3)
class Actions(Env):
    action_space = gymnasium.spaces.Text(9)
class Observations(Env):
    observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Text(9)})
class NoSpaces(gymnasium.Env):
    pass
class NoEnv:
    pass
for cls in (Env, Raises, Actions, Observations, NoSpaces, NoEnv):
    gymnasium.register(id=f"{cls.__name__}-v0", entry_point=cls,
                       max_episode_steps=None if cls is Env else 9)
""",
}
ENVS = [
    ("CartPol-v1", "there is no environment 'CartPol-v1'", "CartPole-v1"),
    ("CartPole-v9", "there is no environment 'CartPole-v9'", "CartPole-v1"),
    ("Zzzzzzzz-v0", "there is no environment", "module:EnvId"),
    ("日本-v1", "there is no environment '日本-v1'", ""),
    ("a/b/c-v0", "a/b/c-v0 cannot be made", ""),
    (":", "cannot be made", ""),
    ("a:b:c", "cannot be made", ""),
    ("no_module:X-v0", "No module named 'no_module'", ""),
    ("raises:X-v0", "raises:X-v0 cannot be made: RuntimeError: no licence for this machine", ""),
    ("exits:X-v0", "exits:X-v0 cannot be made: SystemExit", ""),
    ("broken:X-v0", "broken:X-v0 cannot be made: SyntaxError", ""),
    ("registers_nothing:X-v0", "there is no environment", "registers EnvId"),
    ("mine:Raises-v0", "mine:Raises-v0 cannot be made: ValueError: no such level", ""),
    ("mine:Actions-v0", "has actions Text", "Discrete"),
    ("mine:Observations-v0", "has a Text as 'a'", "--drop-observations a"),
    ("mine:NoSpaces-v0", "mine:NoSpaces-v0", ""),
    ("mine:NoEnv-v0", "mine:NoEnv-v0", ""),
]


@pytest.mark.parametrize(("env_id", "error", "hint"), ENVS, ids=[env[0] for env in ENVS])
def test_environments(
    refused: Check, monkeypatch: pytest.MonkeyPatch, env_id: str, error: str, hint: str
) -> None:
    for name, code in MODULES.items():
        Path(f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    refused("train", "--env-id", env_id, error=error, hint=hint)


@pytest.mark.parametrize("kwargs", ['{"x": 1}', '{"render_mode": 3}', '{"id": "CartPole-v1"}', '{"": 1}'])
def test_environment_arguments(refused: Check, kwargs: str) -> None:
    refused("train", "--env-kwargs", kwargs, error="CartPole-v1 cannot be made", hint="--env-kwargs")


# Runs and their checkpoints.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    distpg.train(TrainConfig(num_env_runners=0, max_iterations=4, checkpoint_every=2, run_dir=str(run)))
    return run


@pytest.fixture
def run(finished: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, "run"))


def edit_config(run: Path, **changes: object) -> None:
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize(
    ("checkpoint", "error"),
    [
        *(
            ("7", "there is no checkpoint run/checkpoints/000007"),
            ("-1", "--checkpoint"),
            ("0.5", "--checkpoint"),
        ),
        *(("newest", "--checkpoint cannot be 'newest'"), ("", "--checkpoint"), ("²", "--checkpoint")),
        *(
            ("9" * 5000, "--checkpoint"),
            ("../../run", "--checkpoint"),
            ("999999999", "there is no checkpoint"),
        ),
    ],
)
def test_checkpoint_numbers(refused: Check, run: Path, checkpoint: str, error: str) -> None:
    refused("evaluate", "run", f"--checkpoint={checkpoint}", error=error)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_damaged_checkpoints(refused: Check, run: Path, name: str) -> None:
    path = run / "checkpoints/000002" / name
    path.write_bytes(path.read_bytes()[:-1])
    refused("evaluate", "run", "--checkpoint", "2", error="run/checkpoints/000002 is damaged")
    path.unlink()
    path.mkdir()
    refused("evaluate", "run", "--checkpoint", "2", error="run/checkpoints/000002 is damaged")


def test_a_run_without_a_good_checkpoint(refused: Check, run: Path) -> None:
    for path in run.glob("checkpoints/*/state.json"):
        path.write_text("{}")
    refused("evaluate", "run", error="run has no good checkpoint", hint="resume")
    refused("evaluate", "run", "--checkpoint", "best", error="run has no good checkpoint")


def test_checkpoints_of_a_newer_version(refused: Check, run: Path) -> None:
    rewrite_state(run / "checkpoints/000004", format=99)
    for command in (["resume", "run", "--max-iterations", "9"], ["evaluate", "run"]):
        refused(*command, error="written by a newer version", hint="Upgrade")


def test_checkpoints_of_another_configuration(refused: Check, run: Path) -> None:
    edit_config(run, gamma=0.5)
    for command in (["resume", "run", "--max-iterations", "9"], ["replay", "run", "--episode", "9"]):
        refused(*command, error="another configuration: gamma is 0.99 there, 0.5", hint="config.json")


@pytest.mark.parametrize("command", [["resume"], ["evaluate"], ["replay", "--episode", "0"], ["plot"]])
def test_damaged_run_configurations(refused: Check, run: Path, command: list[str]) -> None:
    path = run / "config.json"
    contents = [b"", b"{", b"[]", b"\xff", b'{"sede": 1}', b'{"seed": "x"}', b"[" * 100_000, b'{"lr": NaN}']
    for content in contents:
        path.write_bytes(content)
        refused(command[0], "run", *command[1:], error="run")
    path.unlink()
    path.mkdir()
    refused(command[0], "run", *command[1:], error="is not a run directory")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (["--lr", "0.5"], "--lr cannot be changed by resume"),
        (["--seed=7"], "--seed cannot be changed by resume"),
        (["--max-iterations", "3"], "--max-iterations can only be raised"),
        (["--max-iterations", "x"], "--max-iterations"),
        (["--env-id", "Acrobot-v1"], "--env-id cannot be changed"),
        (["--checkpoint-every", "-1"], "--checkpoint-every must be"),
        (["--run-dir", "elsewhere"], "--run-dir cannot be changed by resume"),
    ],
)
def test_changes_that_resume_refuses(refused: Check, run: Path, changes: list[str], error: str) -> None:
    refused("resume", "run", *changes, error=error)
    refused("resume", *changes, "run", error=error)


@pytest.mark.parametrize("episode", ["16", "-1", str(10**30)])
def test_episodes_that_were_not_played(refused: Check, run: Path, episode: str) -> None:
    refused("replay", "run", "--episode", episode, error="has not played episode")


# Addresses.


@pytest.mark.parametrize(
    ("address", "error", "hint"),
    [
        ("ray://127.0.0.1:10001", "--address cannot be 'ray://127.0.0.1:10001'", "--address auto"),
        ("http://127.0.0.1:8265", "--address cannot be", "host:port"),
        ("nonsense", "--address cannot be 'nonsense'", "host:port"),
        ("local", "--address cannot be 'local'", ""),
        (":", "--address cannot be", ""),
        (":6379", "--address cannot be", ""),
        ("127.0.0.1:", "--address cannot be", ""),
        ("127.0.0.1:0", "--address cannot be", ""),
        ("127.0.0.1:65536", "--address cannot be", ""),
        ("127.0.0.1:-1", "--address cannot be", ""),
        ("127.0.0.1:x", "--address cannot be", ""),
        ("127.0.0.1:²", "--address cannot be", ""),
        ("127.0.0.1 6379", "--address cannot be", ""),
        ("::1:6379", "--address cannot be", ""),
        ("a" * 300 + ":6379", "no Ray cluster answers at", ""),
        ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379", "ray start"),
    ],
)
def test_addresses(refused: Check, address: str, error: str, hint: str) -> None:
    refused("train", "--num-env-runners", "1", "--address", address, error=error, hint=hint)


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_nobody_listens(refused: Check, closed_port: str) -> None:
    refused("train", "--address", closed_port, error=f"no Ray cluster answers at {closed_port}")


def test_auto_with_a_cluster_that_is_gone(
    refused: Check, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", closed_port)
    refused(
        "train", "--address", "auto", error=f"no Ray cluster answers at {closed_port}", hint="RAY_ADDRESS"
    )


# As a user starts it.


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--lr", "nan"],
        ["train", "--config", "/"],
        ["train", "--env-id", "CartPol-v1"],
        ["train", "--address", "ray://x:1"],
        ["resume", "\udcff\udcfe"],
        ["replay", "."],
    ],
)
@pytest.mark.parametrize(
    "command", [["-m", "distpg"], ["-c", "import sys, distpg.commands.cli as c; sys.exit(c.main())"]]
)
def test_in_a_process_of_its_own(command: list[str], arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, *command, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(distpg.__file__).parent.parent), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, ""), result
    check_lines(result.stderr)
    assert list(Path().iterdir()) == []


def test_debug_shows_where(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        main(["train", "--debug", "--lr", "0"])
