import json
import socket
import threading
from pathlib import Path

import pytest

from distpg.config.train_config import TrainConfig
from distpg.environments.envs import inspect_env
from distpg.environments.making import EnvSpec
from distpg.errors import ConfigError, RunDirectoryError
from distpg.on_ray.address import (
    address_of_auto,
    can_grow,
    check_answers,
    check_reachable,
    check_runs_here,
    host_and_port,
    version_problem,
)
from distpg.system.hardware import free_memory
from distpg.training.preflight import (
    MIN_DISK_BYTES,
    RUNNER_BYTES,
    check_before_start,
    check_cluster,
    check_disk,
    check_enough_tasks,
    check_iteration,
    check_memory,
)


def test_addresses_in_parts() -> None:
    assert host_and_port("head-1.example.org:6379") == ("head-1.example.org", 6379)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


def answered(*answers: bytes) -> str:
    """Somebody who listens, and answers whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_who_answers_otherwise_than_ray() -> None:
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b""):
        with pytest.raises(ConfigError, match="what listens there is not Ray"):
            check_reachable(answered(answer))
    check_reachable(answered(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])))


def test_who_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ConfigError, match="timed out"):
        check_reachable(f"127.0.0.1:{server.getsockname()[1]}")


def test_auto_leads_to_the_variable_or_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert address_of_auto() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:1\n")
    for nothing in ("", "auto"):
        monkeypatch.setenv("RAY_ADDRESS", nothing)
        assert address_of_auto() == "127.0.0.1:1"
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: ") as caught:
        check_answers("auto")
    assert "the last `ray start`" in caught.value.hint
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert address_of_auto() == "10.0.0.2:6379"


def test_auto_where_no_cluster_runs(tmp_path: Path) -> None:
    check_runs_here(tmp_path / "no such directory on other systems")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cmdline").write_bytes(b"/usr/bin/vim\0gcs_server.cc\0")
    with pytest.raises(ConfigError, match="no Ray cluster runs on this machine"):
        check_runs_here(tmp_path)
    (tmp_path / "12").mkdir()
    (tmp_path / "12/cmdline").write_bytes(b"/lib/ray/core/src/ray/gcs/gcs_server\0--config\0")
    check_runs_here(tmp_path)


@pytest.mark.parametrize(
    ("cpus", "each", "fewest", "fits"),
    [(4, 1.0, 4, True), (4, 1.0, 5, False), (1, 0.1, 10, True), (1, 0.1, 11, False), (0, 1.0, 1, False)],
)
def test_runners_that_fit(cpus: float, each: float, fewest: int, fits: bool) -> None:
    config = TrainConfig(num_env_runners=fewest, min_env_runners=fewest, cpus_per_env_runner=each)
    check_cluster(config, 1, num_cpus=cpus, is_own=False, can_grow=True)
    if fits:
        check_cluster(config, 1, num_cpus=cpus, is_own=False, can_grow=False)
        return
    with pytest.raises(ConfigError, match=f"{fewest} runners of {each:g} CPUs do not fit"):
        check_cluster(config, 1, num_cpus=cpus, is_own=False, can_grow=False)


def test_memory() -> None:
    assert check_memory(10 * RUNNER_BYTES, 10) is None
    assert check_memory(None, 10**6) is None
    advice = check_memory(3 * RUNNER_BYTES + 1, 10)
    assert advice is not None
    assert "10 runners need about 1.5 GB of memory, 0.5 GB are free" in advice.why
    assert "--num-env-runners 3." in advice.hint
    assert 2**20 < (free_memory() or 0) < 2**50


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(total: int, free: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: (total, total - free, free))
        check_disk(tmp_path)

    check_disk(tmp_path)
    check_disk(tmp_path / "nowhere")
    of(2**40, MIN_DISK_BYTES)
    of(0, 0)
    with pytest.raises(RunDirectoryError, match="has 63 MiB left, a run needs at least 64"):
        of(2**40, MIN_DISK_BYTES - 2**20)


@pytest.mark.parametrize("runners", [1, 5, 64, 65, 127, 128, 1000])
@pytest.mark.parametrize("size", ["auto", 1, 7])
def test_the_advised_number_of_episodes_feeds_every_runner(runners: int, size: int) -> None:
    advice = check_enough_tasks(TrainConfig(episodes_per_task=size), runners)
    tasks = 4 if size == "auto" else -(-4 // size)
    if runners <= tasks:
        assert advice is None
        return
    assert advice is not None
    assert advice.why.startswith(f"{runners - tasks} of {runners} runners will idle")
    episodes = int(advice.hint.split()[1])
    assert (
        check_enough_tasks(TrainConfig(episodes_per_task=size, episodes_per_iteration=episodes), runners)
        is None
    )


def test_a_cluster_as_a_whole() -> None:
    config = TrainConfig(episodes_per_iteration=8, min_env_runners=3)
    assert check_cluster(config, 8, num_cpus=1, is_own=True, can_grow=False) == []
    assert check_cluster(config, 3, num_cpus=3, is_own=False, can_grow=False) == []
    assert len(check_cluster(config, 9, num_cpus=3, is_own=False, can_grow=False)) == 1
    with pytest.raises(
        ConfigError, match="3 runners of 1 CPUs do not fit: the cluster has 2 CPUs, enough for 2"
    ):
        check_cluster(config, 9, num_cpus=2, is_own=False, can_grow=False)


def test_who_can_grow() -> None:
    def status(*types: str) -> bytes:
        return json.dumps({"autoscaler_report": {"active_nodes": dict.fromkeys(types, 1)}}).encode()

    assert not can_grow(status("node_299329c77f59", "node_a88e2a2f2ff3"))
    assert can_grow(status("ray.head.default"))
    assert can_grow(status("node_299329c77f59", "worker"))
    for unknown in (None, b"", b"[]", b"{}", b'{"autoscaler_report": null}', status()):
        assert can_grow(unknown)


def test_versions_that_differ() -> None:
    text = """Version mismatch: The cluster was started with:
    Ray: 2.50.0
    Python: 3.10.2
This process on Ray Client was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""
    problem = version_problem(text)
    assert problem is not None
    assert problem[0] == (
        "the cluster runs Ray 2.50.0 and Python 3.10.2, this process Ray 2.60.0 and Python 3.11.7"
    )
    assert version_problem("Failed to connect") is None


def test_everything_that_is_known_before_the_start(tmp_path: Path) -> None:
    check_before_start(TrainConfig(run_dir=str(tmp_path / "not" / "yet")))
    check_before_start(TrainConfig(), tmp_path)
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        check_before_start(TrainConfig(address="127.0.0.1:1"), tmp_path)


def test_automatic_runners_are_no_more_than_there_are_tasks() -> None:
    config = TrainConfig(min_env_runners=9)
    check_cluster(config, 4, num_cpus=4, is_own=False, can_grow=False)
    with pytest.raises(ConfigError, match="4 runners of 1 CPUs do not fit"):
        check_cluster(config, 1, num_cpus=1, is_own=False, can_grow=False)


def test_an_iteration_that_may_not_fit_is_known_before_it_is_played() -> None:
    images = inspect_env(EnvSpec("tests.space_environments:Pixels"))
    config = TrainConfig(episodes_per_iteration=100, max_episode_steps=1000)
    step = 32 * 32 * 3 + 1 + 4
    needed = 2 * 100 * 1000 * step
    assert check_iteration(config, images, needed) is None
    advice = check_iteration(config, images, needed - 1)
    assert advice is not None
    assert "100 episodes of up to 1,000 steps of 3,077 bytes may take 0.6 GB" in advice.why
    assert check_iteration(config, images, None) is None, "nobody knows how much is free"
    assert check_iteration(TrainConfig(), images, 0) is None, "nobody knows how long an episode is"
