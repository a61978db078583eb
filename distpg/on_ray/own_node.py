"""The node of a cluster that this process starts for its runners alone: without what watches clusters.

Beside its two servers Ray starts five processes of Python, which take a second of a core and 80 MB each, and
waits for three of them: the autoscaler's monitor, the dashboard's server, a monitor that prints what workers
write, and two agents of the node. Nobody asks any of them here, and where all cores are busy it is they that
are not there in time.

None of this is of Ray's public interface. So it is done for versions alone that it was tried with, and left
undone where anything is not as it was there; should Ray not start like this, it is started as always.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_TRIED = ("2.60.",)
# Methods of Ray's Node.
_WATCHERS = ("start_monitor", "start_api_server", "start_log_monitor")
_STAND_IN = Path(__file__).with_name("stand_in.py")


def is_known() -> bool:
    """Whether this version of Ray starts its processes as :func:`only_what_runners_need` expects."""
    try:
        import ray
        from ray._private import node, services

        return (
            ray.__version__.startswith(_TRIED)
            and all(hasattr(node.Node, name) for name in _WATCHERS)
            and hasattr(services, "start_ray_process")
        )
    except (ImportError, AttributeError):
        return False


@contextlib.contextmanager
def only_what_runners_need() -> Iterator[None]:
    """A node that ``ray.init`` starts within has its servers, and stand-ins for its agents."""
    if not is_known():
        yield
        return
    from ray._private import node, services

    start = services.start_ray_process

    def start_without_agents(command: Sequence[str], kind: str, *args: Any, **kwargs: Any) -> Any:
        return start(_with_stand_ins(command) if kind == "raylet" else command, kind, *args, **kwargs)

    with contextlib.ExitStack() as stack:
        for name in _WATCHERS:
            _replace(stack, node.Node, name, lambda *args, **kwargs: None)
        _replace(stack, services, "start_ray_process", start_without_agents)
        yield


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Until the stack is closed."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _with_stand_ins(command: Sequence[str]) -> Sequence[str]:
    """A raylet's command, with stand-ins in the place of its agents'."""
    from ray import _raylet

    raylet: Any = _raylet
    options = dict(part.split("=", 1) for part in command if "=" in part)
    try:
        address, node_id, session, agent = (
            options[f"--{name}"]
            for name in ("node_ip_address", "node_id", "session_dir", "runtime_env_agent_command")
        )
        port_file = raylet.get_port_filename(node_id, raylet.RUNTIME_ENV_AGENT_PORT_NAME)
        for name in ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN"):
            # As the agent of an installation without Ray's extras says it, which serves nobody.
            raylet.persist_port(session, node_id, getattr(raylet, f"{name}_PORT_NAME"), -1)
    except (AttributeError, KeyError):  # agents say in another way where they listen
        return command
    stand_in = [sys.executable, "-I", "-S", str(_STAND_IN)]
    commands = {
        "--dashboard_agent_command": subprocess.list2cmdline(stand_in),
        "--runtime_env_agent_command": " ".join(
            (subprocess.list2cmdline([*stand_in, address, str(Path(session, port_file))]), agent)
        ),
    }
    parts = ((part, *part.partition("=")) for part in command)
    return [f"{option}={commands[option]}" if option in commands else part for part, option, _, _ in parts]
