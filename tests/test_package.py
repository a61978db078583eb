"""What is built of this repository: a wheel of the package alone, a source distribution with its tests."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parent.parent


def test_the_wheel_has_the_package_alone(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "distpg").rglob("*.py")}
    assert names == package | {"distpg/py.typed"}


def test_the_editable_install_is_a_plain_path(tmp_path: Path) -> None:
    """So that a script beside a checkout named distpg finds the package, and not the directory."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if ".dist-info/" not in name]
        assert files.read(name).decode().strip() == str(ROOT)


def test_the_source_distribution_has_what_its_tests_need(tmp_path: Path) -> None:
    (archive,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(archive) as files:
        names = {name.split("/", 1)[1] for name in files.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    # Where this is such a distribution itself, all that is beside the tests.
    wanted = listed.stdout.split() or [
        str(path.relative_to(ROOT))
        for part in ("benchmarks", "cluster", "docs", "examples", "scripts", "tests")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert set(wanted) - {".gitattributes", ".github/workflows/ci.yml"} <= names
