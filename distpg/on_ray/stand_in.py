"""Stands in for an agent of Ray's: for ever, or until it is called, as tasks do that ask for an environment.

A raylet starts it as a script, in the agent's place: ``python stand_in.py [ADDRESS PORT_FILE COMMAND ...]``.
"""

import os
import socket
import sys
import time
from pathlib import Path

# So often it looks whether the raylet is still there, as Ray's agents do.
_LOOK_S = 0.5


def main(address: str, port_file: str, *command: str) -> None:
    """Listen at a port that is written where Ray looks for it; become the agent when it is called.

    Who called finds the connection closed, and tries again.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        Path(f"{port_file}.new").write_text(str(port), encoding="utf-8")
        Path(f"{port_file}.new").replace(port_file)
        server.settimeout(_LOOK_S)
        while raylet_is_there():
            try:
                server.accept()
            except TimeoutError:
                continue
            break
        else:
            return
    os.execv(command[0], [*command, f"--runtime-env-agent-port={port}"])  # the last one counts


def raylet_is_there() -> bool:
    """Whether the process that started this one has not ended."""
    return os.getppid() == int(os.environ["RAY_RAYLET_PID"])


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    while raylet_is_there():
        time.sleep(_LOOK_S)
