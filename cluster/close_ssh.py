"""Narrow SSH, on AWS, from the whole world to the address that this command came from.

Run by ``ray up`` on the head. It concerns the security groups that Ray made for this cluster and no others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import ClientError

_SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}


def main() -> None:
    """Close the groups of the cluster that this machine is the head of."""
    client = os.environ.get("SSH_CLIENT", "").split()
    if not client:
        sys.exit("close_ssh.py: run it over SSH; the address it comes from is the one that is let in")
    config = yaml.safe_load((Path.home() / "ray_bootstrap_config.yaml").read_text())
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    for group in _groups_made_by_ray(ec2, config):
        _close(ec2, group, client[0])


def _groups_made_by_ray(ec2: Any, config: dict[str, Any]) -> list[dict[str, Any]]:
    node_types = config["available_node_types"].values()
    ids = sorted({group for kind in node_types for group in kind["node_config"].get("SecurityGroupIds", [])})
    tag = {"Key": "ray-cluster-name", "Value": config["cluster_name"]}
    found = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
    return [group for group in found if tag in group.get("Tags", [])]


def _close(ec2: Any, group: dict[str, Any], address: str) -> None:
    """Let in the one address, then no longer the world."""
    if ":" in address:
        only = {"Ipv6Ranges": [{"CidrIpv6": f"{address}/128"}]}
    else:
        only = {"IpRanges": [{"CidrIp": f"{address}/32"}]}
    try:
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[{**_SSH, **only}])
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
            raise
    for rule in group["IpPermissions"]:
        for ranges, cidr, world in (("IpRanges", "CidrIp", "0.0.0.0/0"), ("Ipv6Ranges", "CidrIpv6", "::/0")):
            if any(entry[cidr] == world for entry in rule.get(ranges, [])):
                ports = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in rule}
                closed = [{**ports, ranges: [{cidr: world}]}]
                ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=closed)


if __name__ == "__main__":
    main()
