"""The rules of the house, read from the code's own imports."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "distpg"
# From the top: imports point down this list and never up.
WINGS = [
    "commands",
    "training",
    "on_ray",
    "runs",
    "sampling",
    "environments",
    "learning",
    "kernels",
    "dispatch",
    "config",
    "system",
    "core",
    "errors",
]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wing_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if wing_of(path) in WINGS]


def test_every_module_has_its_wing() -> None:
    doors = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    assert set(PACKAGE.rglob("*.py")) - doors == set(MODULES)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(module: Path) -> None:
    wing = wing_of(module)
    for name in imports(module):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        assert package != "distpg" or WINGS.index(target) >= WINGS.index(wing), f"{name} is not below {wing}"
        assert package != "ray" or wing == "on_ray", f"{wing} imports ray"
        assert wing != "dispatch" or package != "distpg" or target in ("dispatch", "core"), name
        assert wing != "core" or package not in ("torch", "numba", "gymnasium"), name


def imported_wings(wing: str) -> list[str]:
    """The other wings that a wing imports, from the top."""
    names = {name for module in MODULES if wing_of(module) == wing for name in imports(module)}
    targets = {name.split(".")[1] for name in names if name.startswith("distpg.")}
    return [target for target in WINGS if target in targets - {wing}]


@pytest.mark.parametrize("wing", WINGS)
def test_contributing_has_the_arrows(wing: str) -> None:
    """CONTRIBUTING.md's table is the code's own."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*)\|$", text, flags=re.MULTILINE)
    (purpose,) = [purpose for name, purpose, _ in rows if name == wing]
    arrows = ", ".join(f"`{name}`" for name in imported_wings(wing))
    right = f"| `{wing}` | {purpose} | {arrows or '-'} |"
    assert right in text.splitlines(), f"CONTRIBUTING.md should have this row:\n{right}"


def test_contributing_has_the_wings_from_the_top() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == WINGS


def loaded_by(statement: str) -> str:
    heavy = "{'ray', 'torch', 'numba', 'matplotlib', 'gymnasium'}"
    script = f"import sys; {statement}; print(*{heavy} & set(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_distpg_is_light() -> None:
    assert loaded_by("import distpg") == ""


def test_runners_of_built_in_policies_import_no_torch() -> None:
    assert loaded_by("import distpg.sampling.env_runner") == "gymnasium"


def test_commands_import_torch_only_when_runners_have_begun_to_start() -> None:
    assert loaded_by("import distpg.training.trainer, distpg.training.resume") == "gymnasium"


def test_no_file_hides_a_second_one() -> None:
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


# What a newcomer reads from `train` to `env.step`, in the order of the calls.
IN_PROCESS = [
    "training/trainer.py",
    "training/rollouts.py",
    "sampling/group.py",
    "sampling/env_runner.py",
    "sampling/gymnasium_sampler.py",
]
ON_RAY = [
    *IN_PROCESS[:2],
    "on_ray/group.py",
    "dispatch/messages.py",
    "dispatch/dispatcher.py",
    "on_ray/remote_runner.py",
    "on_ray/actor.py",
    *IN_PROCESS[-2:],
]


@pytest.mark.parametrize(("path", "files", "lines"), [(IN_PROCESS, 6, 900), (ON_RAY, 9, 1700)])
def test_the_path_from_train_to_step_is_short(path: list[str], files: int, lines: int) -> None:
    assert len(path) <= files
    assert sum(len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in path) <= lines
