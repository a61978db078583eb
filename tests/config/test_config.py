import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import distpg
from distpg.config.files import config_from_mapping, load_config_file, preset
from distpg.config.given import in_json, missing
from distpg.config.train_config import (
    TrainConfig,
    automatic_episodes_per_task,
    automatic_num_env_runners,
    config_to_json,
    deciding_options,
    resolve_config,
)
from distpg.errors import ConfigError
from distpg.runs.directory import load_run_config
from tests.runs.test_checkpoints import rewrite_state


def test_a_file_overrides_defaults_and_spelling_is_free(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "seed: 3\nepisodes-per-iteration: 8\nhidden_sizes: [64, 32]\nlr: 1e-3\n", encoding="utf-8"
    )
    config = load_config_file(path)
    assert (config.seed, config.episodes_per_iteration, config.hidden_sizes, config.lr) == (
        3,
        8,
        (64, 32),
        0.001,
    )
    assert config.gamma == TrainConfig().gamma


def test_a_runs_config_json_is_a_config_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = resolve_config(TrainConfig(seed=5, env_kwargs={"a": [1, None]}, run_dir="somewhere"), 475.0)
    path.write_text(config_to_json(config), encoding="utf-8")
    assert all(v != "auto" for k, v in json.loads(path.read_text()).items() if k != "num_env_runners")
    assert load_config_file(path) == dataclasses.replace(config, run_dir=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", "there is no option 'sed'"),
        ("seed: three", "--seed cannot be 'three'"),
        ("seed: true", "--seed cannot be True"),
        ("lr: .nan", "--lr cannot be nan"),
        ("gamma: 1.5", "--gamma must be from 0 to 1, not 1.5"),
        ("hidden_sizes: [0]", "--hidden-sizes must be from 1"),
        ("hidden_sizes: 64", "--hidden-sizes cannot be 64"),
        ("- seed", "holds no options"),
        ("seed: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config_file(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").touch()
    assert load_config_file(tmp_path / "c.yaml") == TrainConfig()


@pytest.mark.parametrize(
    "options",
    [
        {"episodes_per_iteration": 0},
        {"seed": -1},
        {"seed": 2**64},
        {"lr": 0.0},
        {"lr": float("inf")},
        {"baseline": "mean"},
        {"num_env_runners": "many"},
        {"cpus_per_env_runner": 0.0},
        {"baseline": "episode", "returns": "total"},
        {"num_env_runners": 0, "address": "auto"},
        {"num_env_runners": 2, "min_env_runners": 3},
        {"env_kwargs": [1]},
        {"max_env_steps": 0},
        {"discount_weighting": True, "returns": "total"},
        {"entropy_coef": -0.1},
        {"max_grad_norm": 0.0},
        {"degree": 0},
        {"checkpoint_every": -1},
        {"keep_checkpoints": 0},
        {"value_updates": 0},
        {"ratio_clip": 0.0},
        {"policy_lag": 65},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**options)


def test_automatic_values() -> None:
    config = resolve_config(TrainConfig(), 475.0)
    assert (config.stop_return, config.max_env_steps, config.episodes_per_task) == (475, 1_000_000, 1)
    assert resolve_config(TrainConfig(max_iterations=3), None).max_env_steps is None
    assert resolve_config(TrainConfig(max_iterations=3, max_env_steps=9), None).max_env_steps == 9
    assert resolve_config(TrainConfig(stop_return=None), 475.0).stop_return is None
    assert [automatic_episodes_per_task(e) for e in (1, 127, 128, 4096, 10**6)] == [1, 1, 2, 64, 64]
    assert [automatic_num_env_runners(cpus, 1000) for cpus in (1, 2, 3, 8)] == [1, 2, 2, 7]
    assert automatic_num_env_runners(64, 4) == 4


def test_unknown_keys_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"basline": "none"}, TrainConfig(), "here")
    assert caught.value.hint == "Did you mean baseline?"


def test_files_from_before_an_option_was_there_keep_what_runs_did_then(tmp_path: Path) -> None:
    values = json.loads(config_to_json(TrainConfig(lr=0.02)))
    for name in ("max_kl", "normalise_observations", "action_mask"):
        del values[name]
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    for config in (load_run_config(tmp_path), load_config_file(tmp_path / "config.json")):
        assert (config.lr, config.max_kl, config.normalise_observations) == (0.02, None, "none")
        assert config.action_mask == "none"


def test_values_of_a_program_are_asked_for_wherever_they_are() -> None:
    value = {"a": [1, {"f": in_json(np.int64(3))}], "b": "python", "c": ("python:m:f",)}
    assert missing(value) == ["python:numpy:int64(3)", "python:m:f"]
    assert in_json(np.int64(3)) != in_json(np.int64(4))


def test_presets_are_what_they_were_before_the_defaults_changed() -> None:
    assert (preset("cartpole").lr, preset("article").lr) == (0.02, 0.01)
    for name in ("cartpole", "article"):
        assert (preset(name).max_kl, preset(name).normalise_observations) == (None, "none")
        assert preset(name).sampler == "gymnasium"


def test_a_preset_gives_way_to_a_file_and_a_file_to_options(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("preset: article\nlr: 0.5\n", encoding="utf-8")
    config = load_config_file(path)
    assert (config.lr, config.baseline, config.stop_return) == (0.5, "none", 450)
    # One that was named on the command line counts instead of the file's.
    assert load_config_file(path, preset("cartpole")) == dataclasses.replace(preset("cartpole"), lr=0.5)
    path.write_text("preset: atari\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="--preset cannot be 'atari'"):
        load_config_file(path)


def test_what_decides_the_result() -> None:
    deciding = deciding_options(TrainConfig())
    assert {"seed", "lr", "episodes_per_task", "policy_lag", "ratio_clip"} <= set(deciding)
    assert not {"num_env_runners", "address", "max_iterations", "run_dir", "learner_threads"} & set(deciding)


def test_a_run_of_an_earlier_version_resumes(in_tmp_path: Path) -> None:
    config = TrainConfig(num_env_runners=0, max_iterations=2, env_reuse="episode")
    whole = distpg.train(dataclasses.replace(config, max_iterations=3, run_dir="whole"))
    distpg.train(dataclasses.replace(config, run_dir="run"))
    # Then, ``episode`` had a second name.
    path = Path("run/config.json")
    path.write_text(path.read_text().replace('"env_reuse": "episode"', '"env_reuse": "task"'))
    assert json.loads(path.read_text())["env_reuse"] == "task"
    for checkpoint in Path("run/checkpoints").iterdir():
        options = json.loads((checkpoint / "state.json").read_text())["options"]
        rewrite_state(checkpoint, options={**options, "env_reuse": "task"})
    assert distpg.resume("run", max_iterations=3).weights_digest == whole.weights_digest
    Path("old.yaml").write_text("env-reuse: task\n")
    assert load_config_file("old.yaml").env_reuse == "episode"
    with pytest.raises(ConfigError, match="--env-reuse cannot be 'task'"):
        TrainConfig(env_reuse="task")


def test_a_wrong_value_is_shown_in_part() -> None:
    with pytest.raises(ConfigError, match=r"--seed cannot be 'x{199}…") as caught:
        TrainConfig(seed="x" * 10**6)
    assert len(caught.value.message) < 300
