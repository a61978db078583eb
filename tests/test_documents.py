"""What the documents say that can be checked against the code and the tree."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from distpg.core.events import EVENTS, Event
from tests.test_house import WINGS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Written elsewhere at the same time; the set is empty once it is there.


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
