"""A short soak: real runners and nodes under seeded chaos; ``scripts/soak 30`` is the long one."""

import subprocess
import sys
from pathlib import Path


def test_no_fault_changes_a_digest() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "0.3", "--calm-seconds", "2", "--seconds-per-fault", "1"],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "faults in 0.3 minutes" in result.stdout
    assert result.stdout.strip().endswith("equal")
