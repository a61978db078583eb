"""Ray's token: a new one for each cluster that is started here, and who may read one that is in a file."""

import os
import secrets
import stat
from pathlib import Path
from typing import Any

from distpg.core.events import Advice

_MODE, _TOKEN, _FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def variables_for_own_cluster() -> dict[str, str]:
    """What makes a cluster that is started with them demand a token, which is nowhere on disk.

    Ray itself would write one into the home, for all to read. What the user says by these variables counts.
    """
    if os.environ.get(_MODE, "token").lower() != "token":
        return {}
    given = os.environ.get(_TOKEN) or os.environ.get(_FILE)
    return {_MODE: "token"} | ({} if given else {_TOKEN: secrets.token_hex(32)})


def read_again() -> None:
    """Make Ray take mode and token from the environment as it is now; else it keeps what it read first."""
    try:
        from ray import _raylet

        raylet: Any = _raylet
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    except (ImportError, AttributeError):  # a version of Ray without tokens
        return


def advice_on_file() -> list[Advice]:
    """What a user should know whose token is in a file that others may read."""
    if os.environ.get(_MODE, "").lower() != "token" or os.environ.get(_TOKEN):
        return []
    try:
        path = Path(os.environ.get(_FILE) or Path.home() / ".ray" / "auth_token")
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, RuntimeError):  # it is not there, or the user has no home
        return []
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    why = f"{path} can be read by other users of this machine (mode {mode:04o})"
    return [Advice(why, f"Who has Ray's token may run code in your name: chmod 600 {path}")]
