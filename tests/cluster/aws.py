"""A simulated AWS: moto answers the launcher and the autoscaler, and each instance that runs becomes a host.

What it does not show: images and the time they take to boot, disks, security groups at work, roles and their
rights, quotas and the notice before a spot instance goes. Credentials are in hosts' environment, where a real
instance has its profile's.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.hosts import Host, Network
from tests.cluster.launcher import BIN
from tests.cluster.timings import wait_for

# moto's instances have addresses of AWS's default network, whose last one is ours.
GATEWAY, LENGTH = "172.31.255.254", 16
_PORT = 5566
_LIVE = ("pending", "running")


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 reports it."""

    id: str
    kind: str
    is_live: bool
    is_spot: bool
    private: str
    public: str | None
    key_name: str


class SimulatedAws:
    """EC2 in a region, whose instances boot."""

    def __init__(self, network: Network, region: str, directory: Path) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{GATEWAY}:{_PORT}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        self._network = network
        with (directory / "moto.log").open("wb") as log:
            self._moto = subprocess.Popen(
                [str(BIN / "moto_server"), "--host", GATEWAY, "--port", str(_PORT)],
                env={"PATH": str(BIN), "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
                stdout=log,
                stderr=log,
            )
        import boto3  # here, since the ordinary suite reads this module without having it

        self.ec2: Any = boto3.client(
            "ec2",
            region_name=region,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        wait_for("moto's answer", self._answers, 60)
        self._hosts: dict[str, Host] = {}
        self._ends = threading.Event()
        self._failure: BaseException | None = None
        self._machine_room = threading.Thread(target=self._boot_and_stop, daemon=True)
        self._machine_room.start()

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        assert self._moto.poll() is None, "moto has ended"
        try:
            self.ec2.describe_key_pairs()
        except (BotoCoreError, ClientError):
            return False
        return True

    def instances(self) -> list[Instance]:
        """All that there are or were, the oldest first."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        raw = [
            one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]
        ]
        return [_instance(one) for one in sorted(raw, key=lambda one: one["LaunchTime"])]

    def live(self, kind: str) -> list[Instance]:
        """Those of a node type that run or are about to."""
        return [one for one in self.instances() if one.kind == kind and one.is_live]

    def host(self, instance: Instance) -> Host:
        """An instance's host, once it has booted."""
        return wait_for(f"the host of {instance.id}", lambda: self._known(instance.id), 60)

    def _known(self, instance: str) -> Host | None:
        assert self._failure is None, f"the simulated AWS failed: {self._failure!r}"
        return self._hosts.get(instance)

    def reclaim(self, instance: Instance) -> None:
        """Take a spot instance away: its host is gone at once, and then EC2 says so."""
        self._network.crash(self.host(instance))
        self.ec2.terminate_instances(InstanceIds=[instance.id])

    def ingress(self) -> list[tuple[int, int, str]]:
        """What security groups let in, of the cluster's: first port, last port, from where."""
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        found = []
        for group in groups:
            if group["GroupName"] == "default":
                continue
            for rule in group["IpPermissions"]:
                sources = [entry["CidrIp"] for entry in rule["IpRanges"]]
                sources += [entry["CidrIpv6"] for entry in rule["Ipv6Ranges"]]
                sources += [entry["GroupId"] for entry in rule["UserIdGroupPairs"]]
                ports = (rule.get("FromPort", 0), rule.get("ToPort", 65535))
                found += [(*ports, "itself" if source == group["GroupId"] else source) for source in sources]
        return found

    def _boot_and_stop(self) -> None:
        """Once a second: a host for each live instance that has none, and none for one that has ended."""
        try:
            while not self._ends.wait(1):
                instances = self.instances()
                for instance in instances:
                    if instance.is_live and instance.id not in self._hosts:
                        self._hosts[instance.id] = self._boot(instance)
                    host = self._hosts.get(instance.id)
                    # Another may have its address, and so its name, by now.
                    if not instance.is_live and host and self._network.hosts.get(host.name) is host:
                        self._network.crash(host)
        except BaseException as failure:  # of a thread that nobody sees: the next question raises it
            self._failure = failure
            raise

    def _boot(self, instance: Instance) -> Host:
        pairs = self.ec2.describe_key_pairs(KeyNames=[instance.key_name], IncludePublicKey=True)["KeyPairs"]
        return self._network.boot(
            f"ip-{instance.private.replace('.', '-')}",
            instance.private,
            public=instance.public,
            keys=[pair["PublicKey"].strip() for pair in pairs],
            environment=self.environment,
        )

    def close(self) -> None:
        """No instance boots any more, and nothing answers."""
        self._ends.set()
        self._machine_room.join()
        self._moto.kill()
        self._moto.wait()


def _instance(raw: dict[str, Any]) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}
    return Instance(
        id=raw["InstanceId"],
        kind=tags.get("ray-node-type", "?"),
        is_live=raw["State"]["Name"] in _LIVE,
        is_spot=raw.get("InstanceLifecycle") == "spot",
        private=raw["PrivateIpAddress"],
        public=raw.get("PublicIpAddress"),
        key_name=raw["KeyName"],
    )


@contextlib.contextmanager
def simulated_aws(network: Network, region: str, directory: Path) -> Iterator[SimulatedAws]:
    """An AWS for as long as the context lasts."""
    made = SimulatedAws(network, region, directory)
    try:
        yield made
    finally:
        made.close()
