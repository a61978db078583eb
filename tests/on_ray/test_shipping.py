"""What of the working directory reaches runners that have another one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import distpg
from distpg.on_ray import shipping as ray_shipping
from distpg.on_ray.shipping import Shipment, shipment_of

# Runners say where they have it from, in files of their own; distpg's own processes import it as well.
ENVIRONMENT = """
import os
from pathlib import Path

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
{imports}

class Mine(CartPoleEnv):
    def __init__(self, told, render_mode=None):
        super().__init__(render_mode=render_mode)
        Path(told, str(os.getpid())).write_text({told})

gymnasium.register("Mine-v0", Mine, max_episode_steps=20)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is not the home."""
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_modules_from_elsewhere_are_not_shipped(work: Path) -> None:
    (work / "here.py").touch()
    assert shipment_of("CartPole-v1") is None
    assert shipment_of("elsewhere:Mine-v0") is None


def test_the_working_directory_is_shipped_with_the_module(work: Path) -> None:
    (work / "here.py").touch()
    (work / "package").mkdir()
    for env_id in ("here:Mine-v0", "package:Mine-v0", "package.inner:Mine-v0"):
        shipment = shipment_of(env_id)
        assert shipment == Shipment(str(work))
        assert shipment.advice() == []


def test_so_it_is_with_the_modules_of_wrappers_and_policies(work: Path) -> None:
    (work / "here.py").touch()
    assert shipment_of("CartPole-v1", "elsewhere:wrap", "python:here:policy") == Shipment(str(work))
    assert shipment_of("CartPole-v1", "here:wrap", "mlp") == Shipment(str(work))


@pytest.mark.parametrize("home", ["work", "work/below"])
def test_a_home_stays_where_it_is(home: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "here.py").touch()
    (work / "package").mkdir()
    monkeypatch.setenv("HOME", str(work.parent / home))
    for env_id, name in (("here:Mine-v0", "here.py"), ("package.inner:Mine-v0", "package")):
        shipment = shipment_of(env_id)
        assert shipment is not None
        assert (shipment.path, shipment.why_module_alone) == (str(work / name), f"is {work}")
        (advice,) = shipment.advice()
        assert advice.why.startswith(f"runners get only {name}: the working directory ")


def test_what_is_too_large_stays_where_it_is(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_shipping, "_MAX_BYTES", 1000)
    (work / "here.py").touch()
    for name in ("runs", ".venv", ".git", "ignored"):
        (work / name).mkdir()
        (work / name / "large").write_bytes(bytes(1001))
    (work / ".gitignore").write_text("ignored/\n")
    assert shipment_of("here:Mine-v0") == Shipment(str(work))
    (work / "data").mkdir()
    (work / "data/large").write_bytes(bytes(1001))
    shipment = shipment_of("here:Mine-v0")
    assert shipment is not None
    assert shipment.path == str(work / "here.py")
    assert shipment.why_module_alone is not None


def test_a_job_has_its_working_directory_already(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "here.py").touch()
    monkeypatch.setenv(
        "RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {"working_dir": "gcs://_ray_pkg.zip"}}'
    )
    assert shipment_of("here:Mine-v0") is None
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {}, "metadata": {}}')
    assert shipment_of("here:Mine-v0") == Shipment(str(work))


def train(module: str, told: Path, cwd: Path, home: Path) -> list[dict[str, str]]:
    """The run's warnings."""
    import ray

    told.mkdir()
    options = {
        "env-id": f"{module}:Mine-v0",
        "env-kwargs": json.dumps({"told": str(told)}),
        "address": ray.get_runtime_context().gcs_address,
        "num-env-runners": "1",
        "cpus-per-env-runner": "0.1",
        "max-iterations": "1",
        "run-dir": "runs/x",
    }
    result = subprocess.run(
        [sys.executable, "-m", "distpg", "train", "--quiet"]
        + [word for name, value in options.items() for word in (f"--{name}", value)],
        cwd=cwd,
        env={
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": str(Path(distpg.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    events = map(json.loads, (cwd / "runs/x/events.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == "warning"]


@pytest.mark.usefixtures("ray")
def test_runners_import_from_the_copy_of_the_working_directory(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(ENVIRONMENT.format(imports="import beside", told="beside.__file__"))
    (work / "beside.py").touch()
    assert train("mine", tmp_path / "told", work, tmp_path) == []
    places = {file.read_text() for file in (tmp_path / "told").iterdir()}
    assert any("working_dir_files" in place for place in places), places


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("file", ["mine.py", "mine/inner.py"])
def test_a_copy_of_the_module_reaches_runners(file: str, tmp_path: Path) -> None:
    """On this machine they see the original as well, and import that."""
    work = tmp_path / "work"
    (work / file).parent.mkdir(parents=True)
    (work / file).touch()
    module = work / file if file == "mine.py" else work / "mine/__init__.py"
    found = f"':'.join(place for place in sys.path if Path(place, {file!r}).is_file())"
    module.write_text(ENVIRONMENT.format(imports="import sys", told=found))
    (warning,) = train("mine", tmp_path / "told", work, home=work)
    assert warning["why"].startswith("runners get only mine")
    places = ":".join(told.read_text() for told in (tmp_path / "told").iterdir()).split(":")
    assert any("py_modules_files" in place for place in places), places
    assert not any("working_dir_files" in place for place in places), places
