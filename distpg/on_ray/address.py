"""Whether a cluster is where --address says, and takes this process in, as far as can be known beforehand."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from distpg.errors import ConfigError

_CONNECT_S = 2.0
# As it takes half a second, this is for machines under load and for clusters that answer nothing.
_ADMISSION_S = 15.0
_LACKS_TOKEN = 3
TOKEN_HINT = "Set RAY_AUTH_MODE=token, and copy the cluster's ~/.ray/auth_token here or into RAY_AUTH_TOKEN."
_HOW_TO_START = "Start one with `ray start --head`, or leave --address out for a new one on this machine."


def host_and_port(address: str) -> tuple[str, int]:
    """The address of a Ray cluster in parts (ConfigError: it is none)."""
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address cannot be {address!r}: Ray Client is far slower and is not supported",
            "Run distpg on the cluster's head node with --address auto.",
        )
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address, re.ASCII)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise ConfigError(f"--address cannot be {address!r}", "It takes host:port, or auto.")
    return found[1].strip("[]"), int(found[2])


def check_answers(address: str) -> None:
    """Whether a cluster is at ``--address`` and takes this process in (ConfigError: it does not)."""
    if address != "auto":
        check_reachable(address)
        check_admitted(address)
    elif (found := address_of_auto()) is None:
        check_runs_here(Path("/proc"))
    else:
        hint = "`auto` is RAY_ADDRESS or the last `ray start`: correct the one, or repeat the other."
        check_reachable(found, hint)
        check_admitted(found, is_found_by_ray=found != os.environ.get("RAY_ADDRESS"))


def check_reachable(address: str, hint: str = _HOW_TO_START) -> None:
    """Whether a cluster listens at host:port, which takes Ray a minute to find out (ConfigError: no)."""
    where = host_and_port(address)
    try:
        with socket.create_connection(where, timeout=_CONNECT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):  # else it speaks first, and encrypted
                # gRPC's servers answer this greeting by a SETTINGS frame (4) of HTTP/2 (RFC 9113, 3.4).
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                answer = connection.recv(9, socket.MSG_WAITALL)
                if len(answer) < 9 or answer[3] != 4:
                    raise OSError("what listens there is not Ray")
    except (OSError, UnicodeError) as error:  # the second for a name that is too long
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"no Ray cluster answers at {address}: {reason}", hint) from error


def check_admitted(address: str, is_found_by_ray: bool = False) -> None:
    """Whether a cluster at host:port takes this process in, or wants a token that it lacks.

    Ray itself says after a long time that no cluster is there, or nothing at all. It is tried in a process of
    its own: Ray writes to standard error when it fails, ends a process in which it finds no token, and a
    process that has read a token never reads another one. What else may be wrong is left for Ray to say.

    Args:
        is_found_by_ray: Whether it is what ``auto`` stands for, where Ray needs no RAY_AUTH_MODE.

    Raises:
        ConfigError: The cluster demands its token, and this process has none or another one.
    """
    # With this process's own search path, as a module of that name in the working directory is not ours.
    program = "import sys; sys.path[:] = sys.argv[3:]; from distpg.on_ray.address import _admit; _admit()"
    found = "auto" if is_found_by_ray else "given"
    try:
        result = subprocess.run(
            [sys.executable, "-c", program, address, found, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_ADMISSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if result.returncode == _LACKS_TOKEN:
        lacks = result.stdout.strip()
        raise ConfigError(f"the cluster at {address} demands its token, and {lacks}", TOKEN_HINT)


def _admit() -> None:
    lacks = _missed(sys.argv[1], is_found_by_ray=sys.argv[2] == "auto")
    print(lacks)
    sys.exit(_LACKS_TOKEN if lacks else 0)


def _missed(address: str, is_found_by_ray: bool) -> str | None:
    """What a cluster misses when this process connects as Ray does."""
    try:
        from ray import _raylet
        from ray._private.authentication import authentication_token_setup as setup
        from ray.exceptions import AuthenticationError
    except ImportError:  # a version of Ray without tokens, or none at all
        return None
    raylet: Any = _raylet
    if is_found_by_ray:
        setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    lacks = "RAY_AUTH_MODE is not `token` here, so that none is shown"
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        lacks = "this process has another one"
        try:
            if not raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
                return "this process has none"  # Ray refuses to connect, whatever the cluster is like
        except AuthenticationError:
            return "none can be read where RAY_AUTH_TOKEN_PATH says"
    try:
        raylet.GcsClient(address=address)
    except AuthenticationError:
        return lacks
    return None


def check_runs_here(processes: Path) -> None:
    """Whether ``processes``, as Linux's /proc, has a cluster for ``auto``, as Ray looks (ConfigError: no)."""
    commands = list(processes.glob("[0-9]*/cmdline"))
    for command in commands:
        with contextlib.suppress(OSError):  # it has ended
            if b"gcs_server" in command.read_bytes().split(b"\0")[0]:
                return
    if commands:
        raise ConfigError("no Ray cluster runs on this machine", _HOW_TO_START)


def address_of_auto() -> str | None:
    """Where Ray's ``auto`` leads: RAY_ADDRESS, or what the last ``ray start`` wrote down; None: unknown."""
    address = os.environ.get("RAY_ADDRESS", "auto")
    if address not in ("", "auto"):
        return address
    try:
        directory = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
        return (directory / "ray_current_cluster").read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def can_grow(status: bytes | None) -> bool:
    """Whether a cluster adds nodes by itself, from what its autoscaler reports; True where it says nothing.

    One that `ray start` made has an autoscaler too, which names each node's type after the node alone.
    """
    try:
        types = json.loads(status or b"")["autoscaler_report"]["active_nodes"]
        return not types or not all(str(kind).startswith("node_") for kind in types)
    except (ValueError, KeyError, TypeError):
        return True


def version_problem(text: str) -> tuple[str, str] | None:
    """What Ray says of differing versions, as message and hint; None: it complains of something else."""
    found = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    if "Version mismatch" not in text or len(found) < 2:
        return None
    (their_ray, their_python), (our_ray, our_python) = found[:2]
    return (
        f"the cluster runs Ray {their_ray} and Python {their_python}, "
        f"this process Ray {our_ray} and Python {our_python}",
        "Install the cluster's versions here, or the other way round: they must be the same.",
    )
