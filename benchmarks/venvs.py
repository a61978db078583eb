"""Virtual environments under .venv-peers/ for what distpg itself does not need, made when first needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-peers"
OWN = ("distpg", "sgemm")


class PeerError(Exception):
    """A peer cannot be compared; the message is one line, why."""


def python_of(peer: str) -> Path:
    """The interpreter of an environment that has exactly what its file in requirements/ names.

    distpg itself runs in the environment of the project, and so does what it is held against.

    Raises:
        PeerError: The environment cannot be made.
    """
    if peer in OWN:
        return Path(sys.executable)
    environment = ENVIRONMENTS / peer
    python, stamp = environment / "bin" / "python", environment / ".installed"
    requirements = Path(__file__).parent / "requirements" / f"{peer}.txt"
    # Other versions, or another Python, call for a new install.
    wanted = sys.version + "\n" + requirements.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"Installing {peer} into .venv-peers/{peer} (once; a minute or more) ...", file=sys.stderr)
    _run([sys.executable, "-m", "venv", "--clear", str(environment)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(requirements)])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def run_in(name: str, module: str, arguments: list[str]) -> None:
    """Go on as a module in one of these environments, unless this is it (SystemExit: there is none)."""
    if Path(sys.prefix) == ENVIRONMENTS / name:
        return
    try:
        python = str(python_of(name))
    except PeerError as error:
        raise SystemExit(f"The environment {name} {error}") from error
    os.execv(python, [python, "-m", module, *arguments])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        # What pip says itself, or what was raised where a package is built.
        said = [line for line in lines if line.startswith("ERROR")]
        raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
        errors = said or raised or lines or ["no reason given"]
        raise PeerError(f"cannot be installed: {errors[-1].removeprefix('ERROR: ')}")
