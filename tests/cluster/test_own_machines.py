"""cluster/local.yaml: a head and three workers, from ``ray up`` to ``ray down``. Tests go in this order."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.boot import USER
from tests.cluster.cluster import OPTIONS, PACED, Cluster, SingleProcess, longest_gap
from tests.cluster.hosts import network
from tests.cluster.launcher import Launcher
from tests.cluster.ports import strangers_view
from tests.cluster.timings import Timings, wait_for

WORKERS = 3
ITERATIONS = 20
TRAIN = f"distpg train --address auto --num-env-runners auto {' '.join(OPTIONS)}"
PACED_TRAIN = f"cd mine && {TRAIN} {' '.join(PACED)}"
ENDLESS = f"{PACED_TRAIN} --max-env-steps none"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, timings: Timings) -> Iterator[Cluster]:
    with (
        contextlib.closing(Launcher(tmp_path_factory.mktemp("own-machines"))) as launcher,
        network("10.77.0.1", 24, tmp_path_factory.mktemp("hosts")) as hosts,
    ):
        with timings("own machines: hosts boot"):
            head, *workers = [hosts.boot(f"h{i}", f"10.77.0.{10 + i}") for i in range(1, WORKERS + 2)]
        launcher.render(
            "local.yaml",
            {
                "provider.head_ip": head.address,
                "provider.worker_ips": [worker.address for worker in workers],
                "auth.ssh_user": USER,
                "auth.ssh_private_key": str(hosts.key),
            },
        )
        launcher.run("ray", "get-auth-token", "--generate")
        made = Cluster(launcher, hosts, head)
        try:
            with timings("own machines: ray up"):
                launcher.up()
            yield made
        finally:
            made.keep_logs()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> SingleProcess:
    return SingleProcess(tmp_path_factory.mktemp("single"))


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def test_all_nodes_join(cluster: Cluster, timings: Timings) -> None:
    with timings("own machines: all 4 nodes joined, from ray up's end"):
        alive = cluster.wait_for_nodes(WORKERS + 1)
    assert alive == sorted(host.address for host in cluster.network.hosts.values())


def test_training_has_runners_on_every_node(
    cluster: Cluster, single: SingleProcess, timings: Timings
) -> None:
    command = f"{TRAIN} --seed 3 --max-iterations {ITERATIONS} --run-dir runs/auto"
    with timings(f"own machines: {ITERATIONS} iterations of CartPole-v1"):
        training = cluster.launcher.start_exec(command)
        cluster.wait_for_runners_everywhere()
        assert training.wait(240) == 0, training.output
    done = result(cluster.head.home("runs/auto"))
    assert done["weights_digest"] == single.digests(ITERATIONS, "--seed", "3")[-1]
    assert done["reproducible"] is True
    wait_for("the end of its runners", lambda: not cluster.hosts_with_runners(), 30)


def test_runs_come_home(cluster: Cluster) -> None:
    home = cluster.launcher.directory / "home-again"
    home.mkdir()
    cluster.launcher.run("ray", "rsync-down", str(cluster.launcher.config), "~/runs/", f"{home}/")
    there = cluster.head.home("runs")
    files = {path.relative_to(there) for path in there.rglob("*") if path.is_file()}
    assert {path.relative_to(home) for path in home.rglob("*") if path.is_file()} == files
    assert result(home / "auto") == result(there / "auto")


def test_own_environment_reaches_the_other_nodes(cluster: Cluster, single: SingleProcess) -> None:
    cluster.wait_for_nodes(WORKERS + 1)
    cluster.put_paced_environment("mine", pause_s=0.001)
    training = cluster.launcher.start_exec(f"{PACED_TRAIN} --max-iterations 5 --run-dir ../runs/mine")
    wait_for("runners on other nodes", lambda: len(cluster.hosts_with_runners()) > 1, 120)
    assert training.wait(240) == 0, training.output
    assert result(cluster.head.home("runs/mine"))["weights_digest"] == single.digests(5, *PACED)[-1]


def test_job_from_the_head(cluster: Cluster) -> None:
    command = f"{TRAIN} --max-iterations 3 --run-dir ~/runs/from-the-head"
    cluster.launcher.exec(f"ray job submit -- {command}")
    assert len(cluster.metrics("runs/from-the-head")) == 3


def test_job_whose_command_fails(cluster: Cluster) -> None:
    with cluster.launcher.dashboard():
        # Ray's client has an exit code of its own, and names the command's.
        command = ("distpg", "train", "--address", "auto", "--gamma", "2")
        output = cluster.launcher.job("submit", "--", *command, code=1)
        assert "Job entrypoint command failed with exit code 2" in output
        assert "error: --gamma must be" in without_rays_client(output)
        assert_plain(without_rays_client(output))
        assert f"Job '{job_id(output)}' failed" in cluster.launcher.job("status", job_id(output))


def test_job_that_is_stopped_goes_on(cluster: Cluster, single: SingleProcess, timings: Timings) -> None:
    mine = cluster.launcher.directory / "mine"
    launcher, run = cluster.launcher, "runs/job"
    command = f"{TRAIN} {' '.join(PACED)} --max-iterations {ITERATIONS}"
    with launcher.dashboard():
        output = launcher.job(
            *("submit", "--no-wait", "--working-dir", str(mine), "--"),
            *(*command.split(), "--run-dir", f"/home/{USER}/{run}"),
        )
        identifier = job_id(output)
        before = cluster.wait_for_iterations(run, 3)
        assert len(before) < ITERATIONS
        with timings("own machines: ray job stop"):
            launcher.job("stop", identifier)
        logs = launcher.job("logs", identifier)
        assert f"Job '{identifier}' was stopped" in launcher.job("status", identifier)
    assert "iteration" in without_rays_client(logs)
    assert_plain(without_rays_client(logs))
    done = len(cluster.metrics(run))
    assert done < ITERATIONS
    checkpoints = sorted(path.name for path in cluster.head.home(f"{run}/checkpoints").iterdir())
    assert checkpoints[-1] == f"{done:06}"
    wait_for("the end of its runners", lambda: not cluster.hosts_with_runners(), 60)
    launcher.exec(f"cd mine && distpg resume ../{run}")
    digests = [line["weights_digest"] for line in cluster.metrics(run)]
    assert digests == single.digests(ITERATIONS, *PACED)


def job_id(output: str) -> str:
    (found,) = set(re.findall(r"raysubmit_\w+", output))
    return found


def without_rays_client(output: str) -> str:
    """What a job wrote itself; Ray's client has times, tabs and, terminal or not, colours."""
    return re.sub(r"^\d{4}-\d\d-\d\d [\d:,]+\t.*\n", "", output, flags=re.MULTILINE)


def assert_plain(text: str) -> None:
    """No terminal is needed to read it."""
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize("token", ["", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=guessed"], ids=["none", "wrong"])
def test_strangers_are_refused(cluster: Cluster, token: str) -> None:
    """From another host, that has all else."""
    worker = cluster.workers[0]
    command = f"HOME=$PWD {token} distpg train --address {cluster.head.address}:6379 --run-dir run"
    done = worker.login(f"mkdir -p stranger && cd stranger && {command}")
    assert done.returncode not in (0, 130)
    assert "token" in done.stderr
    assert done.stdout == ""
    assert not worker.home("stranger/run").exists()
    assert cluster.hosts_with_runners() == set()


def test_nothing_answers_without_the_token(cluster: Cluster) -> None:
    with cluster.training(f"{ENDLESS} --run-dir ../runs/watched") as interrupt:
        cluster.wait_for_runners_everywhere()
        view = strangers_view(cluster.network.hosts.values(), cluster.launcher.token)
        interrupt()
    print(*view.lines, sep="\n")
    assert view.wrong == []
    # SSH, Ray's own port and its dashboard were among what was looked at.
    seen = {line.partition(" ")[0] for line in view.lines}
    assert seen >= {"h1:22", "h1:6379", "h1:8265", "h2:22", "h3:22", "h4:22"}
    assert "h1:8265 python: closed" in view.lines


@pytest.mark.parametrize("silently", [False, True], ids=["crashed", "silent"])
def test_lost_host_changes_nothing(
    cluster: Cluster, single: SingleProcess, timings: Timings, silently: bool
) -> None:
    what = "silent" if silently else "crashed"
    nodes = len(cluster.network.hosts)
    cluster.wait_for_nodes(nodes)
    run, lost = f"runs/{what}", cluster.workers[-1]
    with cluster.training(f"{ENDLESS} --run-dir ../{run}") as interrupt:
        cluster.wait_for_runners_everywhere()
        before = cluster.wait_for_iterations(run, 3)
        assert lost.processes("ray::RayEnvRunner")
        lost_at = time.monotonic()
        cluster.network.crash(lost, silently)
        wait_for("the loss", lambda: cluster.events(run, "env_runner_died"), 120)
        timings[f"own machines: runners of a {what} host given up"] = time.monotonic() - lost_at
        # One iteration may have been all but done when the host went.
        cluster.wait_for_iterations(run, 4)
        interrupt()
    metrics = cluster.metrics(run)
    usual = longest_gap(before[1:])
    gap = longest_gap(metrics[len(before) - 1 :])
    timings[f"own machines: longest iteration before a host is {what}"] = usual
    timings[f"own machines: longest iteration when a host is {what}"] = gap
    assert gap - usual <= 30
    assert [line["weights_digest"] for line in metrics] == single.digests(len(metrics), *PACED)
    cluster.wait_for_nodes(nodes - 1)
    timings[f"own machines: {what} host marked dead by Ray"] = time.monotonic() - lost_at


def test_ray_down_leaves_nothing(cluster: Cluster, timings: Timings) -> None:
    def still_there() -> set[str]:
        hosts = cluster.network.hosts.items()
        return {name for name, host in hosts if host.processes("/raylet") or host.processes("/gcs_server")}

    assert still_there() == set(cluster.network.hosts)
    with timings("own machines: ray down"):
        cluster.launcher.down()
    with timings("own machines: last raylet gone, from ray down's end"):
        wait_for("the end of Ray's processes", lambda: not still_there(), 150)
