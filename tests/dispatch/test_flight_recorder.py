"""What a dispatcher was told and ordered, written down and replayed."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distpg.dispatch.flight_recorder import differences, recorded
from tests.faults.simulator import Scenario, Simulation, random_scenario


@pytest.mark.parametrize("seed", range(8))
def test_a_flight_replays_to_the_same_commands(tmp_path: Path, seed: int) -> None:
    simulation = Simulation(random_scenario(random.Random(seed)), seed)
    path = tmp_path / "flight.jsonl"
    with path.open("w") as file:
        simulation.advise = recorded(simulation.dispatcher, simulation.rules, file)
        simulation.run()
    found = list(differences(path))
    assert len(found) == len(path.read_text().splitlines()) - 1 > 3
    assert not any(found)


def flight(tmp_path: Path) -> Path:
    test_a_flight_replays_to_the_same_commands(tmp_path, 1)
    return tmp_path / "flight.jsonl"


def replayed(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distpg.dispatch.flight_recorder", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_difference_is_named_with_its_line(tmp_path: Path) -> None:
    path = flight(tmp_path)
    lines = path.read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if '["Send"' in line)
    line = json.loads(lines[number])
    line["commands"][0][1]["runner"] = 77
    path.write_text("\n".join([*lines[:number], json.dumps(line), *lines[number + 1 :], ""]))
    result = replayed(path)
    assert result.returncode == 1
    assert f"line {number + 1}: recorded" in result.stderr


def test_two_flights_and_a_torn_end(tmp_path: Path) -> None:
    """A resumed run appends; a process that dies leaves a line without its end."""
    path = flight(tmp_path)
    once = path.read_text()
    path.write_text(once + once + once[:-20])
    result = replayed(path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (
        result.stdout == f"{3 * (len(once.splitlines()) - 1) - 1} reports, and after each the same commands\n"
    )


def test_a_recording_of_before_tasks_had_questions_and_owners_replays(tmp_path: Path) -> None:
    task = [5, 1, 0, "training"]
    lines: list[dict[str, object]] = [
        {"rules": {"num_runners": 1}},
        {"at": 0.0, "report": ["TimePassed", {}], "commands": [["Start", {"runner": 0}]]},
        {"at": 1.0, "report": ["Joined", {"runner": 0}], "commands": []},
        {
            "at": 2.0,
            "report": ["Added", {"tasks": [task], "audited": []}],
            "commands": [["Send", {"runner": 0, "tasks": [task], "why": "new"}]],
        },
        {
            "at": 3.0,
            "report": ["Answered", {"runner": 0, "seconds": 1.0, "steps": 9, "digests": ["a"]}],
            "commands": [["Accept", {"task": task}]],
        },
    ]
    path = tmp_path / "flight.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(differences(path)) == [None] * 4


def test_questions_and_their_owners_are_recorded(tmp_path: Path) -> None:
    simulation = Simulation(Scenario(runners=3, asks=True), 0)
    path = tmp_path / "flight.jsonl"
    with path.open("w") as file:
        simulation.advise = recorded(simulation.dispatcher, simulation.rules, file)
        simulation.run()
    assert not any(differences(path))
    text = path.read_text()
    without = re.sub(r'"owners":\[[0-9,]+\]', '"owners":[]', text)
    assert without != text
    path.write_text(without)
    assert any(differences(path)), "who owns what changes what is ordered"


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    for path in (tmp_path / "text", tmp_path / "missing"):
        result = replayed(path)
        assert result.returncode == 2
        assert result.stderr.startswith(f"error: {path} is no recording")
