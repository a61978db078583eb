"""What the documents say that can be checked against the code and the tree."""

import contextlib
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import distpg
from distpg.commands.cli import main
from distpg.core.events import EVENTS, Event
from tests.documents import DOCUMENTS, ELSEWHERE, ROOT, commands, is_elsewhere, mentions
from tests.test_house import WINGS


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def row(event: type[Event]) -> str:
    """An event as docs/events.md has it: kind, docstring, keys, whether the run is reproducible."""
    meaning = " ".join((event.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")
    keys = ", ".join(f"`{field.name}`" for field in fields(event))
    return f"| `{event.kind}` | {meaning} | {keys} | {'no' if event.speaks_against else ''} |"


def test_every_event_is_explained() -> None:
    table = "\n".join(
        ["| event | what it means | keys | reproducible |", "|---|---|---|---|", *map(row, EVENTS)]
    )
    assert table in text_of("docs/events.md"), f"docs/events.md should have this table:\n{table}"


def test_the_readme_draws_every_wing() -> None:
    drawn = re.findall(r"^  ([a-z_]+)  +\S", text_of("README.md"), flags=re.MULTILINE)
    assert [*drawn, "errors"] == WINGS


@pytest.mark.parametrize(("name", "lines"), [("README.md", 130), ("CONTRIBUTING.md", 40)])
def test_first_documents_are_short(name: str, lines: int) -> None:
    assert len(text_of(name).splitlines()) <= lines


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_linked_or_named_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text)
    named = re.findall(r"`((?:\.ci|benchmarks|cluster|distpg|docs|examples|scripts|tests)/[\w./-]*\w)", text)
    paths = [document.parent / path for path in linked] + [ROOT / path for path in named]
    missing = {str(path.resolve().relative_to(ROOT)) for path in paths if not path.exists()}
    assert not missing
    benchmarks = re.findall(r"`scripts/bench ([a-z_]+)", text)
    assert {f"{name}.py" for name in benchmarks} <= {path.name for path in (ROOT / "benchmarks").iterdir()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "run"
    config = distpg.TrainConfig(num_env_runners=0, stop_return=None, max_iterations=5, run_dir=str(path))
    distpg.train(config)
    return path


# What is left of the blocks trains until solved, or measures for long: scripts/test-documents.
QUICK = [
    command
    for command in commands()
    if command.startswith(("distpg evaluate", "distpg replay", "distpg doctor", "distpg plot"))
]


@pytest.mark.parametrize("command", QUICK)
def test_commands_do_as_they_stand(command: str, run: Path, in_tmp_path: Path) -> None:
    words = shlex.split(command.replace("RUN", str(run)))
    assert main(words[1:]) == 0
    assert [path.name for path in in_tmp_path.iterdir()] == [word for word in words if word.endswith(".gif")]


def test_each_command_is_tested_somewhere() -> None:
    assert len(QUICK) == 3
    for beginning in ELSEWHERE:
        assert any(f"{command} ".startswith(beginning) for command in commands()), beginning
    typed = [command for command in commands() if not is_elsewhere(command)]
    assert all(re.match(r"(scripts/|distpg |\. )", command) for command in typed), typed


@pytest.mark.parametrize("command", {c for c in (*commands(), *mentions()) if c.startswith("distpg ")})
def test_options_are_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *words = shlex.split(command.replace("…", "").replace("...", ""))[1:]
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", shown)), shown
