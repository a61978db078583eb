"""Whether a cluster takes this process in, or wants a token that it lacks.

It is tried in a process of its own: Ray writes to standard error when it fails, ends a process in which it
finds no token, and a process that has read a token never reads another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from distpg.errors import ConfigError

# As it takes half a second, this is for machines under load and for clusters that answer nothing.
_TIMEOUT_S = 15.0
_LACKS_TOKEN = 3
TOKEN_HINT = "Set RAY_AUTH_MODE=token, and copy the cluster's ~/.ray/auth_token here or into RAY_AUTH_TOKEN."


def check_admitted(address: str, is_found_by_ray: bool = False) -> None:
    """Whether a cluster that listens at ``address`` takes this process in.

    Ray itself says after a long time that no cluster is there, or nothing at all. What else may be wrong is
    left for it to say.

    Args:
        address: host:port.
        is_found_by_ray: Whether it is what ``auto`` stands for, where Ray needs no RAY_AUTH_MODE.

    Raises:
        ConfigError: The cluster demands its token, and this process has none or another one.
    """
    # With this process's own search path, as a module of that name in the working directory is not ours.
    program = "import sys; sys.path[:] = sys.argv[3:]; from distpg.on_ray.token import main; main()"
    found = "auto" if is_found_by_ray else "given"
    try:
        result = subprocess.run(
            [sys.executable, "-c", program, address, found, *sys.path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if result.returncode == _LACKS_TOKEN:
        raise ConfigError(
            f"the cluster at {address} demands its token, and {result.stdout.strip()}", TOKEN_HINT
        )


def main() -> None:
    """Connect as the arguments say; if the cluster misses something, print it and end by ``_LACKS_TOKEN``."""
    if (lacks := _missed(sys.argv[1], is_found_by_ray=sys.argv[2] == "auto")) is not None:
        print(lacks)
        sys.exit(_LACKS_TOKEN)


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
