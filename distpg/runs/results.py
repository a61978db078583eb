"""How a run ended: result.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import python_version

from distpg.config.train_config import TrainConfig
from distpg.runs.progress import Progress, is_solved
from distpg.system.files import write_atomically
from distpg.system.version import installed_version

_PACKAGES = ("distpg", "ray", "torch", "gymnasium", "numpy")


@dataclass(frozen=True)
class Result:
    """How a run ended; result.json holds the same.

    Attributes:
        wall_s: Seconds from the call to the end of training, over all resumptions.
        train_s: The same without start-up.
        reproducible: Whether the same config and seed give the same weights again.
        not_reproducible_because: Why not, where it is known that they do not.
    """

    solved: bool
    env_steps_to_solve: int | None
    episodes_to_solve: int | None
    iterations: int
    wall_s: float
    train_s: float
    weights_digest: str
    reproducible: bool
    not_reproducible_because: str | None
    seed: int
    versions: dict[str, str | None]
    run_dir: str


def write_result(
    run: Path,
    run_dir: str,
    config: TrainConfig,
    progress: Progress,
    weights_digest: str,
    wall_s: float,
    train_s: float,
    not_reproducible_because: str | None = None,
) -> Result:
    """Write result.json of a run that ended so; raises StorageError where it cannot be written.

    ``run_dir`` is ``run`` as the user wrote it.
    """
    solved = is_solved(progress, config)
    result = Result(
        solved=solved,
        env_steps_to_solve=progress.env_steps if solved else None,
        episodes_to_solve=progress.episodes if solved else None,
        iterations=progress.iterations,
        wall_s=wall_s,
        train_s=train_s,
        weights_digest=weights_digest,
        reproducible=not_reproducible_because is None,
        not_reproducible_because=not_reproducible_because,
        seed=config.seed,
        versions={"python": python_version(), **{name: installed_version(name) for name in _PACKAGES}},
        run_dir=run_dir,
    )
    text = json.dumps(asdict(result), indent=2, allow_nan=False) + "\n"
    write_atomically(run / "result.json", text.encode())
    return result


def read_result(run: Path) -> Result | None:
    """What result.json holds; None where it is missing or damaged."""
    try:
        return Result(**json.loads((run / "result.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
