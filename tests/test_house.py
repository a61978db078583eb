"""The rules of the house, read from the code's own imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "distpg"

# From the top: a module imports only modules below it. Names in one row are of one floor.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["command_line", "display"],
    ["benchmark_report"],
    ["evaluation", "replay", "doctor", "benchmark"],
    ["advice", "trainer"],
    ["env_runner_groups", "collector"],
    ["plots", "recorder", "history", "video"],
    ["checkpoints", "metrics", "events", "results"],
    ["run_directory", "interrupts", "learner", "stopping"],
    ["value_function"],
    ["learner_state", "optimisers"],
    ["network"],
    ["ray_env_runners"],
    ["ray_cluster", "ray_env_runner", "ray_metrics", "dispatch"],
    ["fleet", "work"],
    ["messages"],
    ["fingerprint"],
    ["env_runners"],
    ["samplers.gymnasium_sampler", "reproducibility"],
    ["samplers.compiled_policy"],
    ["samplers.kernels"],
    ["samplers.compile_cache"],
    ["samplers", "env_trace", "verdict_cache"],
    ["envs"],
    ["sleep_env"],
    ["policies", "baselines", "policy_gradient", "returns"],
    ["episodes"],
    ["ray_shipping"],
    ["schedules", "config_files", "preflight"],
    ["ray_token", "config"],
    ["option_types", "seeding"],
    ["hardware"],
    ["errors", "numerics", "temporary", "user_cache", "version"],
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            if node.module == "distpg":
                names |= {f"distpg.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_its_floor() -> None:
    assert set(modules()) == set(FLOOR)


@pytest.mark.parametrize("module", sorted(FLOOR))
def test_imports_point_down(module: str) -> None:
    for name in imports(modules()[module]):
        if name.startswith("distpg."):
            target = name.removeprefix("distpg.")
            assert FLOOR[target] > FLOOR[module], f"{module} imports {target}, which is not below it"


@pytest.mark.parametrize("module", sorted(FLOOR))
def test_ray_is_imported_only_by_modules_named_for_it(module: str) -> None:
    uses_ray = any(name == "ray" or name.startswith("ray.") for name in imports(modules()[module]))
    assert not uses_ray or module.startswith("ray_")


def test_import_distpg_is_light() -> None:
    script = (
        "import sys, distpg; print(*{'ray', 'torch', 'numba', 'matplotlib', 'gymnasium'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_runners_of_built_in_policies_import_no_torch() -> None:
    script = "import sys, distpg.env_runners; print(*{'ray', 'torch', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_no_file_hides_a_second_one() -> None:
    for name, path in modules().items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, name
