"""Every command of the documents, typed as it stands there into a fresh clone: ``scripts/test-documents``."""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Of what begins so, others are the test; the rest is typed.
ELSEWHERE = {
    "ray ": "a cluster: scripts/test-cluster, tests/test_cluster_files.py",
    "RAY_AUTH_MODE=token ray ": "a cluster",
    "prometheus ": "a cluster with Prometheus",
    "scripts/test ": "takes as long as everything else: last, and only by --all",
}


def commands() -> list[str]:
    """What the documents' blocks say to type. Drawings are indented, and programs have a language."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            if not language and "\n " not in block:
                found += [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]
    return found


def is_elsewhere(command: str) -> bool:
    return f"{command} ".startswith(tuple(ELSEWHERE))


def mentions() -> list[str]:
    """Commands of distpg within the documents' sentences."""
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    return [" ".join(found.split()) for found in re.findall(r"`(distpg [a-z]+ [^`]*)`", text)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "directory", type=Path, help="an empty one, with room for a virtual environment or two"
    )
    parser.add_argument("--all", action="store_true", help="scripts/test too")
    options = parser.parse_args()
    clone, home = options.directory / "distpg", options.directory / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    wanted = [command for command in commands() if not is_elsewhere(command)]
    # What is said in sentences about installing.
    other = f"{sys.executable} -m venv ../other && . ../other/bin/activate"
    wanted.append(
        f"{other} && pip install --constraint constraints.txt '.[render]' && cd / && distpg --version"
    )
    if options.all:
        wanted.append("scripts/test")
    # As a newcomer has it, but for where pip finds packages.
    kept = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE", "http_proxy", "https_proxy")
    variables = {name: os.environ[name] for name in os.environ if name in kept or name.startswith("PIP_")}
    variables |= {"HOME": str(home), "PYTHON": sys.executable}
    activated = ""
    for command in wanted:
        print(f"$ {command}", flush=True)
        if command.startswith(". "):  # counts for those that follow
            activated = f"{command}; "
        runs = sorted((clone / "runs").glob("*"), key=os.path.getmtime)
        typed = activated + command.replace("RUN", str(runs[-1]) if runs else "RUN")
        began = time.monotonic()
        code = subprocess.run(["bash", "-c", typed], cwd=clone, env=variables, check=False).returncode
        print(f"# exit code {code} after {time.monotonic() - began:.0f} s", flush=True)
        if code != 0:
            sys.exit(f"the documents' command failed: {command}")


if __name__ == "__main__":
    main()
