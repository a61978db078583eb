"""The suite runs by scripts/test-cluster alone, and ends with a table of its times."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cluster.lab import VARIABLE
from tests.cluster.timings import Timings

HERE = Path(__file__).parent
_TIMINGS = pytest.StashKey[Timings]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TIMINGS] = Timings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    skip = pytest.mark.skip("tests on a cluster take a quarter of an hour: scripts/test-cluster")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def timings(request: pytest.FixtureRequest) -> Timings:
    return request.config.stash[_TIMINGS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_TIMINGS].rows
    if not rows:
        return
    terminalreporter.section("timings in seconds")
    for name, value in rows.items():
        terminalreporter.write_line(f"{value:8.1f}  {name}")
    terminalreporter.write_line(json.dumps(rows))
