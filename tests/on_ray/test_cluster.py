"""The cluster that distpg starts: who may use it, and what is left of it afterwards."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import distpg
from distpg.on_ray.address import can_grow, check_reachable
from distpg.on_ray.cluster import _autoscaler_status, ray_cluster

CONNECT = """
import logging, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
print("connected with", int(ray.cluster_resources()["CPU"]))
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Short, since the paths of sockets have to be."""
    path = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(distpg.__file__).parent.parent), **changes}


def train(*options: str, cwd: Path, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distpg",
            "train",
            "--num-env-runners",
            "2",
            "--stop-return",
            "none",
            *options,
        ],
        cwd=cwd,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(directory: Path) -> dict[int, str]:
    """Those that have the directory in their command line or among their open files."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            files = [str(file.readlink()) for file in (process / "fd").iterdir()]
        except OSError:  # it has ended
            continue
        if str(directory) in command or any(name.startswith(str(directory)) for name in files):
            found[int(process.name)] = command
    return found


def wait_for(pids: dict[int, str]) -> None:
    for pid, command in pids.items():
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([process], [], [], 60)[0], f"still there: {command}"
        finally:
            os.close(process)


def test_nothing_is_left_of_a_run_that_is_done(tmp_path: Path, temporary: Path) -> None:
    shared = set(Path("/dev/shm").glob("plasma*"))
    with train("--max-iterations", "1", cwd=tmp_path, TMPDIR=str(temporary)) as process:
        assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert list(temporary.glob("distpg*")) == []
    wait_for(processes_of(temporary))
    assert set(Path("/dev/shm").glob("plasma*")) <= shared


def test_what_a_killed_run_leaves_is_gone_with_the_next(tmp_path: Path, temporary: Path) -> None:
    with train("--max-env-steps", "none", cwd=tmp_path, TMPDIR=str(temporary)) as process:
        assert process.stdout is not None
        assert any(line.startswith("iteration") for line in process.stdout)
        started = processes_of(temporary)
        names = " ".join(started.values())
        assert "gcs_server" in names
        assert "raylet" in names
        assert "ray::RayEnvRunner" in names
        process.kill()
        process.communicate()
    # Ray's two agents try for a minute to tell the dead cluster that it is dead, and end then.
    wait_for({pid: command for pid, command in started.items() if "Agent" not in command})
    assert len(list(temporary.glob("distpg-ray-*"))) == 1
    with train("--max-iterations", "1", cwd=tmp_path, TMPDIR=str(temporary)) as process:
        assert process.communicate()[1] == ""
    assert list(temporary.glob("distpg*")) == []


def test_a_directory_whose_name_is_too_long_for_sockets(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    with train("--max-iterations", "1", cwd=tmp_path, TMPDIR=str(long)) as process:
        assert process.communicate()[1] == ""
    assert process.returncode == 0


@pytest.fixture
def address(ray: None) -> str:
    import ray as ray_library

    found: str = ray_library.get_runtime_context().gcs_address
    check_reachable(found)
    return found


def connect(address: str, home: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    variables = environment(HOME=str(home), **changes)
    if "RAY_AUTH_MODE" not in changes:
        variables.pop("RAY_AUTH_MODE", None)
    return subprocess.run(
        [sys.executable, "-c", CONNECT, address], env=variables, capture_output=True, text=True, check=False
    )


def test_strangers_are_refused(address: str, tmp_path: Path) -> None:
    friend = connect(address, Path.home(), RAY_AUTH_MODE="token")
    assert friend.stdout.startswith("connected with "), friend.stderr
    stranger = connect(address, tmp_path)
    assert stranger.returncode != 0
    assert "connected" not in stranger.stdout
    assert "nauthenticated" in stranger.stderr or "AuthenticationError" in stranger.stderr


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"RAY_AUTH_MODE": "token"}, "this process has none"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "this process has another one"),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/no/such/file"},
            "none can be read where RAY_AUTH_TOKEN_PATH says",
        ),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is not `token` here, so that none is shown"),
        ({}, "RAY_AUTH_MODE is not `token` here, so that none is shown"),
    ],
)
def test_a_stranger_is_told_of_the_token(
    given: dict[str, str], lacks: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from another machine: this one's own token is out of reach."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    options = ("--address", address, "--run-dir", "run")
    with train(*options, cwd=tmp_path, HOME=str(tmp_path), **given) as process:
        output, errors = process.communicate()
    assert process.returncode == 2, errors
    error, hint = errors.splitlines()
    assert error == f"error: the cluster at {address} demands its token, and {lacks}"
    assert "RAY_AUTH_MODE=token" in hint
    assert "RAY_AUTH_TOKEN" in hint
    assert output == ""
    assert list(tmp_path.iterdir()) == []


def test_a_stranger_with_the_token_is_none(address: str, tmp_path: Path) -> None:
    token = (Path.home() / ".ray/auth_token").read_text(encoding="utf-8")
    options = ("--address", address, "--max-iterations", "1", "--cpus-per-env-runner", "0.1", "--quiet")
    variables = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    with train(*options, cwd=tmp_path, **variables) as process:
        assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_runners_that_do_not_fit_an_attached_cluster(address: str, tmp_path: Path) -> None:
    # Ray's autoscaler says within seconds whether it has anything to scale.
    while _autoscaler_status() is None:
        pass
    assert not can_grow(_autoscaler_status())
    options = ("--address", address, "--cpus-per-env-runner", "1000")
    with train(*options, cwd=tmp_path, RAY_AUTH_MODE="token") as process:
        output, errors = process.communicate()
    assert process.returncode == 2, errors
    error, hint = errors.splitlines()
    assert "1 runners of 1000 CPUs do not fit" in error
    assert "--cpus-per-env-runner" in hint
    assert output == ""


def test_other_versions_are_named(address: str, tmp_path: Path) -> None:
    script = """
import sys, ray
ray.__version__ = "9.9.9"
from distpg.commands.cli import main
sys.exit(main(sys.argv[1:]))
"""
    options = ["train", "--address", address, "--run-dir", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, "-c", script, *options],
        env=environment(RAY_AUTH_MODE="token"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    error, hint = result.stderr.splitlines()
    assert "this process Ray 9.9.9 and" in error
    assert hint.startswith("hint: Install")


def test_idle_runners_are_said(tmp_path: Path) -> None:
    options = ("--max-iterations", "1", "--episodes-per-iteration", "1", "--run-dir", "run")
    with train(*options, cwd=tmp_path) as process:
        process.communicate()
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    (warning,) = [event for event in events if event["event"] == "warning"]
    assert warning["why"] == "1 of 2 runners will idle: an iteration has 1 tasks"
    assert warning["hint"] == "--episodes-per-iteration 2 would give each of them one."


def test_a_cluster_in_use_is_used_and_left(ray: None) -> None:
    import ray as ray_library

    with ray_cluster(None) as cluster:
        assert not cluster.is_own
    assert ray_library.is_initialized()
