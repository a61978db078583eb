"""What a host answers to whoever knocks, without Ray's token."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster.hosts import Host

if TYPE_CHECKING:
    import grpc

# A call of each of the services that Ray's processes listen with. Left out is gRPC's own question whether a
# server is up (/grpc.health.v1.Health/Check), which they answer to everybody, with yes and nothing else.
_CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.RuntimeEnvService/GetRuntimeEnvsInfo",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.events.EventAggregatorService/AddEvents",
)
_ADDRESSES_OF_ITSELF = ("127.", "[::1]", "[::ffff:127.")


@dataclass(frozen=True)
class Listener:
    """A TCP port on which a process of a host listens."""

    port: int
    process: str
    is_local: bool


def listeners(host: Host) -> list[Listener]:
    """All that listens on TCP there, by port; local is what does so only on addresses that lead to itself."""
    found: dict[int, Listener] = {}
    for line in host.as_root(
        "ss", "--listening", "--tcp", "--numeric", "--processes", "--no-header"
    ).splitlines():
        words = line.split()
        address, _, port = words[3].rpartition(":")
        process = words[5].split('"')[1] if len(words) > 5 else "?"
        is_local = address.startswith(_ADDRESSES_OF_ITSELF)
        known = found.get(int(port))
        found[int(port)] = Listener(int(port), process, is_local and (known is None or known.is_local))
    return sorted(found.values(), key=lambda listener: listener.port)


def answer(address: str, port: int, token: str | None = None) -> str:
    """What comes from a port: ``closed``, ``ssh``, ``refused``, ``answered: ...`` or ``silent``.

    HTTP is tried first, then each gRPC call of Ray's.
    """
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.settimeout(0.5)
            try:
                if connection.recv(4) == b"SSH-":
                    return "ssh"
            except TimeoutError:
                pass
    except OSError:
        return "closed"
    return _http(address, port, token) or _grpc(address, port, token)


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _http(address: str, port: int, token: str | None) -> str | None:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/", headers=_headers(token))
        response = connection.getresponse()
        text = response.read(200).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None  # it does not speak HTTP/1.1
    finally:
        connection.close()
    if response.status in (401, 403):
        return "refused"
    return f"answered: HTTP {response.status} {' '.join(text.split())[:80]}"


def _grpc(address: str, port: int, token: str | None) -> str:
    import grpc  # here, since the ordinary suite reads this module without having it

    with grpc.insecure_channel(f"{address}:{port}") as channel:
        codes = {call: _call(channel, call, token) for call in _CALLS}
    unauthenticated, unimplemented = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED
    answered = {
        call: code.name for call, code in codes.items() if code not in (unauthenticated, unimplemented)
    }
    if answered:
        return f"answered: {answered}"
    return "refused" if unauthenticated in codes.values() else f"silent: {codes}"


def _call(channel: grpc.Channel, call: str, token: str | None) -> grpc.StatusCode:
    import grpc

    try:
        channel.unary_unary(call)(b"", timeout=5, metadata=tuple(_headers(token).items()))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@dataclass(frozen=True)
class View:
    """What a stranger finds on hosts: all of it, and what ought not to be there."""

    lines: list[str]
    wrong: list[str]


def strangers_view(hosts: Iterable[Host], token: str, known_to_answer: Collection[int] = ()) -> View:
    """Knock at every port on which anything listens.

    What is Ray's has to refuse, and to answer whoever has the token; what is local has to be closed.
    """
    lines, wrong = [], []
    for host in hosts:
        for listener in listeners(host):
            got = answer(host.address, listener.port)
            lines.append(f"{host.name}:{listener.port} {listener.process}: {got}")
            if listener.port in known_to_answer:
                continue
            expected = "closed" if listener.is_local else "ssh" if listener.process == "sshd" else "refused"
            if got != expected or (
                got == "refused" and answer(host.address, listener.port, token) == "refused"
            ):
                wrong.append(lines[-1])
    return View(lines, wrong)
