"""Whether two checkouts of distpg train to the same weights, and one resumes what the other began."""

# Imports nothing of this repository: the processes that it starts must find the checkout's own distpg.
from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BASELINES = ("none", "episode", "batch", "timestep", "value")
RETURNS = ("to-go", "total")
RUNNERS = (0, 2)
LAGS = (0, 2)
POLICIES = ("mlp", "linear", "polynomial")
# Options of every run; episodes are cut short, so that a run takes a second.
COMMON = {
    "seed": 3,
    "episodes_per_iteration": 8,
    "max_episode_steps": 40,
    "max_iterations": 5,
    "stop_return": None,
}
RESUMED = (
    {"policy": "mlp", "baseline": "timestep", "policy_lag": 2},
    {"policy": "polynomial", "baseline": "value"},
)
BEGUN, WHOLE = 10, 20
"""Iterations of a run that is begun, and of one that is resumed or never stopped."""


def configurations(only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """All combinations with these options but those that distpg refuses; the runs without Ray first."""
    for runners, policy, baseline, returns, lag in itertools.product(
        RUNNERS, POLICIES, BASELINES, RETURNS, LAGS
    ):
        options = {
            "num_env_runners": runners,
            "policy": policy,
            "baseline": baseline,
            "returns": returns,
            "policy_lag": lag,
        }
        if (baseline, returns) != ("episode", "total") and set(only) <= set(name_of(options).split()):
            yield options


def name_of(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


@contextlib.contextmanager
def errors_in(run: Path) -> Iterator[None]:
    """Leaves what goes wrong in the place of the run, so that the others are compared all the same."""
    try:
        yield
    except Exception as error:
        run.mkdir(parents=True, exist_ok=True)
        (run / "error").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


def train(run: Path, **options: Any) -> None:
    import distpg

    with errors_in(run):
        distpg.train(distpg.TrainConfig(run_dir=str(run), **{**COMMON, **options}))


def play(runs: Path, only: Sequence[str]) -> None:
    """Every run of a checkout: in this process, then on a Ray cluster that distpg finds started."""
    for number, options in enumerate(RESUMED):
        train(runs / f"begun-{number}", num_env_runners=0, **{**options, "max_iterations": BEGUN})
        train(runs / f"whole-{number}", num_env_runners=0, **{**options, "max_iterations": WHOLE})
    connected = False
    for number, options in enumerate(configurations(only)):
        if options["num_env_runners"] and not connected:
            import ray

            ray.init(
                address="local",
                num_cpus=max(RUNNERS),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=256 * 2**20,
                _node_ip_address="127.0.0.1",
            )
            connected = True
        train(runs / str(number), **options)


def resume(runs: Path) -> None:
    """Go on with what another checkout has begun."""
    import distpg

    for number in range(len(RESUMED)):
        run = runs / f"begun-{number}"
        with errors_in(run):
            distpg.resume(run, max_iterations=WHOLE)


def start(checkout: Path, task: str, runs: Path, only: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A process whose distpg is the checkout's, and so is that of the runners it starts."""
    runs.mkdir(exist_ok=True)
    variables = {
        "PYTHONPATH": str(checkout),
        "PYTHONHASHSEED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_worker_niceness": "0",
        # What a checkout finds out about environments, and compiles, is not for the other one.
        "XDG_CACHE_HOME": str(runs / "cache"),
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--task", task, str(checkout), str(runs), *only]
    return subprocess.Popen(command, cwd=runs, env={**os.environ, **variables})


def child() -> None:
    task, checkout, runs, *only = sys.argv[2:]
    import distpg

    found = Path(distpg.__file__).resolve().parent.parent
    if found != Path(checkout):
        raise SystemExit(f"distpg is {found}'s, not {checkout}'s")
    if task == "play":
        play(Path(runs), only)
    else:
        resume(Path(runs))


def finish(*processes: subprocess.Popen[bytes]) -> None:
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"exit codes {codes}")


def digests(run: Path) -> list[str]:
    """Of the weights after each iteration; or what went wrong."""
    if (run / "error").exists():
        return [(run / "error").read_text(encoding="utf-8")]
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["weights_digest"] for line in lines]


def differs(name: str, before: list[str], after: list[str], iterations: int) -> bool:
    """Whether two runs are not the same whole run; says where."""
    if before == after and len(before) == iterations:
        return False
    pairs = itertools.zip_longest(before, after, fillvalue="nothing")
    where = next((number for number, (old, new) in enumerate(pairs, 1) if old != new), len(before))
    old, new = ((found[where - 1 :] or ["nothing"])[0] for found in (before, after))
    print(
        f"DIFFERENT from iteration {where} of {iterations} on: {name}: {old} before, {new} after", flush=True
    )
    return True


def checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "distpg/__init__.py").exists():
        raise argparse.ArgumentTypeError(f"{path} has no distpg/")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=checkout, help="directory with a distpg/ of its own")
    parser.add_argument(
        "after",
        type=checkout,
        nargs="?",
        default=Path(__file__).resolve().parent.parent,
        help="default: this",
    )
    parser.add_argument("--only", nargs="+", default=[], help="such as: policy=mlp num_env_runners=0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        before, after = Path(directory, "before"), Path(directory, "after")
        finish(
            start(options.before, "play", before, options.only),
            start(options.after, "play", after, options.only),
        )
        finish(start(options.after, "resume", before))
        cases = list(configurations(options.only))
        iterations = COMMON["max_iterations"]
        different = sum(
            differs(name_of(case), digests(before / str(number)), digests(after / str(number)), iterations)
            for number, case in enumerate(cases)
        )
        broken = sum(
            differs(
                f"begun before, resumed after: {name_of(case)}",
                digests(before / f"whole-{number}"),
                digests(before / f"begun-{number}"),
                WHOLE,
            )
            for number, case in enumerate(RESUMED)
        )
    result = f"{different} DIFFERENT" if different else "all equal"
    print(f"{len(cases)} configurations, {len(cases) * iterations} iterations: {result}")
    result = f"{broken} DIFFERENT" if broken else "all equal"
    print(f"{len(RESUMED)} runs begun before and resumed after, {len(RESUMED) * WHOLE} iterations: {result}")
    sys.exit(1 if different or broken else 0)


if __name__ == "__main__":
    child() if sys.argv[1:2] == ["--task"] else main()
