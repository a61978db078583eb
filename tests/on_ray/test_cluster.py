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
from distpg.on_ray.own_node import is_known

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
    wait_for(started)
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


ALONE = """
import os
from distpg.on_ray.cluster import ray_cluster

children = lambda pid: map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())
command = lambda pid: open(f"/proc/{pid}/cmdline").read().replace("\\0", " ")
with ray_cluster(None):
    for server in children(os.getpid()):
        print(command(server))
        for other in children(server):
            print(command(other))
"""


def test_no_worker_runs_before_there_is_a_runner() -> None:
    started = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment(), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    raylet = [line for line in started if line.split()[0].endswith("/raylet")]
    assert len(raylet) == 1
    others = set(started).difference(raylet)  # its own command names the one that it starts workers by
    assert not any("ray::IDLE" in line or "default_worker.py" in line for line in others)


NODE = """
import os, socket, sys
import ray
from distpg.on_ray import own_node
from distpg.on_ray.cluster import ray_cluster

exec(sys.argv[1])
children = lambda pid: map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())
with ray_cluster(None) as cluster:
    for server in children(os.getpid()):
        for process in (server, *children(server)):
            print(*open(f"/proc/{process}/cmdline").read().split("\\0")[:4])
    print("advice:", *cluster.advice)
    ports = own_node.Path(ray._private.worker._global_node.get_session_dir_path())
    for file in ports.glob("runtime_env_agent_port*"):  # anybody may call
        with socket.create_connection((ray.util.get_node_ip_address(), int(file.read_text()))):
            pass
    getenv = ray.remote(lambda: os.environ["ASKED_FOR"])
    print(ray.get(getenv.options(runtime_env={"env_vars": {"ASKED_FOR": "there"}}).remote()))
"""


@pytest.mark.parametrize(
    ("change", "is_whole"),
    [
        pytest.param("", False, marks=pytest.mark.skipif(not is_known(), reason="another version of Ray")),
        ("ray.__version__ = '9.9.9'", True),
        ("own_node._with_stand_ins = None", True),
    ],
)
def test_nothing_runs_that_runners_do_not_need_unless_ray_is_another(change: str, is_whole: bool) -> None:
    """Tasks that ask for an environment get it all the same."""
    result = subprocess.run(
        [sys.executable, "-c", NODE, change], env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    *processes, advice, asked_for = result.stdout.splitlines()
    watchers = ("monitor.py", "log_monitor.py", "dashboard.py", "agent.py", "Agent")
    assert any("gcs_server" in line for line in processes)
    assert any("raylet" in line for line in processes)
    assert any(name in line for line in processes for name in watchers) == is_whole
    assert any("stand_in.py" in line for line in processes) != is_whole
    assert advice == "advice:"
    assert asked_for == "there"


INTERRUPTED = """
import os, signal, sys
from distpg.commands.cli import main
from distpg.training import endings

def draw(run):
    os.kill(os.getpid(), signal.SIGINT)
    plot_run(run)

plot_run, endings.plot_run = endings.plot_run, draw
sys.exit(main(["train", "--num-env-runners", "2", "--max-iterations", "1", "--run-dir", "run"]))
"""


def test_an_interrupt_while_figures_are_drawn_and_ray_ends_leaves_nothing(
    tmp_path: Path, temporary: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        env=environment(TMPDIR=str(temporary)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 130
    assert process.stderr.startswith("error: interrupted\nhint: Everything up to the last completed update")
    assert (tmp_path / "run/result.json").exists()
    assert (tmp_path / "run/variance.png").exists()
    assert list(temporary.glob("distpg*")) == []
    wait_for(processes_of(temporary))


OWN = """
import os, sys
import ray  # before distpg, which asks for a token all the same
import distpg
from distpg.on_ray.cluster import ray_cluster
for _ in range(2):
    with ray_cluster(None):
        getenv = ray.remote(lambda: os.environ["RAY_AUTH_TOKEN"])
        print(ray.get_runtime_context().gcs_address, ray.get(getenv.remote()), flush=True)
        input()
    assert not any(name.startswith("RAY_AUTH") for name in os.environ)
"""


def test_each_cluster_has_a_token_of_its_own_and_a_home_is_not_needed(tmp_path: Path) -> None:
    variables = environment(HOME="/dev/null/home", TMPDIR="/tmp")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "XDG_CACHE_HOME"):
        del variables[name]
    started, files, tokens = [sys.executable, "-c", OWN], subprocess.PIPE, set()
    with subprocess.Popen(started, env=variables, stdin=files, stdout=files, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            address, token = process.stdout.readline().split()
            friend = connect(address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
            assert friend.stdout.startswith("connected with "), friend.stderr
            commands = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
            assert token.encode() not in commands
            tokens.add(token)
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)
    assert list(tmp_path.iterdir()) == []


BUSY = """
import os, sys
from pathlib import Path
from ray._private import services
from distpg.errors import ClusterError
from distpg.on_ray import cluster

cluster._PAUSE_S = 0.0
get_node, late = services.get_node, int(sys.argv[1])

def get_node_late(*args):
    global late
    late -= 1
    if late >= 0:
        raise Exception("The current node timed out during startup. This could happen because of much.")
    return get_node(*args)

services.get_node = get_node_late
try:
    with cluster.ray_cluster(None) as found:
        print(*[advice.why for advice in found.advice])
except ClusterError as error:
    print(error)
children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
print([command for child in children if b"ray" in (command := Path("/proc", child, "cmdline").read_bytes())])
"""


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (1, ["Ray did not start in time, and did so at the second try: this machine is very busy"]),
        (
            2,
            [
                "Ray did not start in time, twice: this machine is too busy",
                "Try again when it has less to do, or --num-env-runners 0, which needs no Ray.",
            ],
        ),
    ],
)
def test_a_start_that_takes_too_long_is_tried_once_more(late: int, words: list[str]) -> None:
    """As where three trainings are started in one moment on two cores."""
    command = [sys.executable, "-c", BUSY, str(late)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == [*words, "[]"], result


@pytest.fixture
def address(ray: None) -> str:
    import ray as ray_library

    found: str = ray_library.get_runtime_context().gcs_address
    check_reachable(found)
    return found


def connect(address: str, home: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    variables = environment(HOME=str(home))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        variables.pop(name, None)
    variables.update(changes)
    return subprocess.run(
        [sys.executable, "-c", CONNECT, address], env=variables, capture_output=True, text=True, check=False
    )


def test_strangers_are_refused(address: str, tmp_path: Path) -> None:
    token = os.environ["RAY_AUTH_TOKEN"]
    friend = connect(address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
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
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
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
    """And is told where others may read it."""
    token = tmp_path / "token"
    token.write_text(os.environ["RAY_AUTH_TOKEN"])
    token.chmod(0o644)
    options = (
        "--address",
        address,
        "--max-iterations",
        "1",
        "--cpus-per-env-runner",
        "0.1",
        "--run-dir",
        "run",
    )
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(token)}
    with train(*options, cwd=tmp_path, HOME=str(tmp_path), **variables) as process:
        assert process.communicate()[1] == ""
    assert process.returncode == 0
    warnings = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    why = f"{token} can be read by other users of this machine (mode 0644)"
    assert [event["hint"].split(": ")[1] for event in warnings if event.get("why") == why] == [
        f"chmod 600 {token}"
    ]


def test_runners_that_do_not_fit_an_attached_cluster(address: str, tmp_path: Path) -> None:
    from ray._private import worker

    if is_known():
        # Ray's autoscaler, which our own cluster has not.
        worker._global_node.start_monitor()
    # It says within seconds whether it has anything to scale.
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
