"""cluster/cpu.yaml on a simulated AWS: from a head alone to workers on spot and back. Tests are in order."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.aws import GATEWAY, LENGTH, SimulatedAws, simulated_aws
from tests.cluster.cluster import OPTIONS, PACED, Cluster, SingleProcess
from tests.cluster.hosts import Host, network
from tests.cluster.launcher import Launcher
from tests.cluster.ports import strangers_view
from tests.cluster.timings import Timings, wait_for

# Two CPUs each, so that a head and two workers have what the training asks for.
INSTANCE_TYPE, RUNNERS, WORKERS = "c7i.large", 6, 2
RUN = "runs/grows"
# Ray's metrics, of a node, of the autoscaler and of the dashboard: they answer whoever reaches them.
METRICS_PORTS = (8080, 44217, 44227)


@dataclass(frozen=True)
class Cloud:
    """The account, and the cluster in it."""

    aws: SimulatedAws
    cluster: Cluster


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, timings: Timings) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("aws")
    with (
        network(GATEWAY, LENGTH, tmp_path_factory.mktemp("hosts")) as hosts,
        simulated_aws(hosts, "us-east-1", directory) as aws,
        contextlib.closing(Launcher(tmp_path_factory.mktemp("launcher"), aws.environment)) as launcher,
    ):
        launcher.render(
            "cpu.yaml",
            {
                "idle_timeout_minutes": 1,
                "available_node_types.head.node_config.InstanceType": INSTANCE_TYPE,
                "available_node_types.worker.node_config.InstanceType": INSTANCE_TYPE,
            },
        )
        launcher.run("ray", "get-auth-token", "--generate")
        with timings("AWS: ray up"):
            launcher.up()
        (head,) = aws.live("head")
        made = Cluster(launcher, hosts, aws.host(head))
        try:
            yield Cloud(aws, made)
        finally:
            made.keep_logs()


@pytest.fixture(scope="module")
def interrupt(cloud: Cloud, timings: Timings) -> Iterator[Callable[[], None]]:
    """Ends a training that asks for more runners than the head has CPUs, and goes on until this is called."""
    cluster = cloud.cluster
    cluster.put_paced_environment("mine", pause_s=0.001)
    command = f"cd mine && distpg train --address auto {' '.join((*OPTIONS, *PACED))} --run-dir ../{RUN}"
    options = f"--num-env-runners {RUNNERS} --min-env-runners 1 --max-env-steps none"
    with cluster.training(f"{command} {options}") as interrupt:
        yield interrupt


def healthy_runners(cloud: Cloud) -> int:
    metrics = cloud.cluster.metrics(RUN)
    return metrics[-1]["num_healthy_env_runners"] if metrics else 0


def wait_for_all_runners(cloud: Cloud) -> None:
    wait_for(f"{RUNNERS} runners", lambda: healthy_runners(cloud) == RUNNERS, 600)
    hosts = {cloud.cluster.head.name, *(cloud.aws.host(one).name for one in cloud.aws.live("worker"))}
    assert cloud.cluster.hosts_with_runners() == hosts


def test_head_comes_alone(cloud: Cloud) -> None:
    assert cloud.cluster.wait_for_nodes(1) == [cloud.cluster.head.address]
    assert cloud.aws.live("worker") == []
    (head,) = cloud.aws.live("head")
    assert not head.is_spot


def test_ssh_is_open_to_this_address_alone(cloud: Cloud) -> None:
    rules = cloud.aws.ingress()
    assert [rule for rule in rules if rule[2] != "itself"] == [(22, 22, f"{GATEWAY}/32")]


def test_training_starts_with_the_heads_cpus(
    cloud: Cloud, interrupt: Callable[[], None], timings: Timings
) -> None:
    with timings("AWS: first iteration, from the start of the training"):
        first = cloud.cluster.wait_for_iterations(RUN, 1)[0]
    assert 1 <= first["num_healthy_env_runners"] <= 2
    assert cloud.cluster.hosts_with_runners() == {cloud.cluster.head.name}


def test_nodes_come_and_their_runners_join(
    cloud: Cloud, interrupt: Callable[[], None], timings: Timings
) -> None:
    with timings(f"AWS: all {RUNNERS} runners there, on {WORKERS} new workers, from the first iteration"):
        wait_for_all_runners(cloud)
    workers = cloud.aws.live("worker")
    assert len(workers) == WORKERS
    assert all(worker.is_spot for worker in workers)


def test_prometheus_sees_the_run(cloud: Cloud, interrupt: Callable[[], None]) -> None:
    def figures() -> dict[str, float]:
        with urllib.request.urlopen(f"http://{cloud.cluster.head.address}:8080/metrics", timeout=10) as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith("ray_distpg_")]
        return {
            line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if 'run="grows"' in line
        }

    wait_for("distpg's metrics", lambda: figures().get("ray_distpg_num_healthy_env_runners") == RUNNERS, 60)
    assert figures()["ray_distpg_env_steps_per_s"] > 0
    assert figures()["ray_distpg_training_iteration"] >= 1


def test_nothing_but_metrics_answers_without_the_token(cloud: Cloud, interrupt: Callable[[], None]) -> None:
    """Beyond that, the security group lets in SSH alone."""
    hosts: list[Host] = [cloud.cluster.head, *cloud.cluster.workers]
    view = strangers_view(hosts, cloud.cluster.launcher.token, known_to_answer=METRICS_PORTS)
    print(*view.lines, sep="\n")
    assert view.wrong == []


def test_reclaimed_worker_is_replaced(cloud: Cloud, interrupt: Callable[[], None], timings: Timings) -> None:
    before = cloud.aws.live("worker")
    lost_at = time.monotonic()
    cloud.aws.reclaim(before[0])
    wait_for("the loss of its runners", lambda: healthy_runners(cloud) < RUNNERS, 60)
    timings["AWS: iteration without a reclaimed worker's runners"] = time.monotonic() - lost_at
    wait_for_all_runners(cloud)
    timings["AWS: the replacement's runners have joined, from the loss"] = time.monotonic() - lost_at
    after = cloud.aws.live("worker")
    assert len(after) == WORKERS
    assert before[0].id not in [worker.id for worker in after]


def test_idle_workers_go(cloud: Cloud, interrupt: Callable[[], None], timings: Timings) -> None:
    cloud.cluster.wait_for_iterations(RUN, 2)
    interrupt()
    with timings("AWS: idle scale-down to no worker, from the training's end"):
        wait_for("the end of idle workers", lambda: cloud.aws.live("worker") == [], 240)
    cloud.cluster.wait_for_nodes(1)


def test_digests_are_those_of_a_single_process(
    cloud: Cloud, interrupt: Callable[[], None], tmp_path_factory: pytest.TempPathFactory, timings: Timings
) -> None:
    digests = [line["weights_digest"] for line in cloud.cluster.metrics(RUN)]
    single = SingleProcess(tmp_path_factory.mktemp("single"))
    with timings(f"AWS: the same {len(digests)} iterations in a single process, without pauses"):
        assert digests == single.digests(len(digests), *PACED)


def test_ray_down_leaves_no_instance(cloud: Cloud, interrupt: Callable[[], None], timings: Timings) -> None:
    with timings("AWS: ray down"):
        cloud.cluster.launcher.down()
    wait_for("the end of all instances", lambda: not any(one.is_live for one in cloud.aws.instances()), 60)
    wait_for("the end of all hosts", lambda: cloud.cluster.network.hosts == {}, 60)
