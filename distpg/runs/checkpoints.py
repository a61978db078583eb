"""Checkpoints: all that a run needs to go on, as data with checksums, each written whole or not at all.

``checkpoints/NNNNNN/`` is the state after NNNNNN iterations: ``weights.safetensors`` (the policy, as
``value.*`` the value function, and as ``earlier.*`` the policies that a lag still needs, the oldest numbered
0), ``optimizer.safetensors`` (as ``observations.*`` also the moments that scale them) and ``state.json``,
which has the checksums of all three. Nothing in them is code, and nothing is read before its checksum is
right.
"""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from distpg.config.files import in_present_terms
from distpg.config.train_config import TrainConfig, deciding_options
from distpg.core.policies import Weights
from distpg.errors import CheckpointError, ConfigError
from distpg.learning.learner_state import LearnerState, Moments, ValueState
from distpg.runs.progress import RECENT_EPISODES, Progress
from distpg.system.files import storage_error, sync_directory, write_durably

# 2: weights of earlier updates, which a policy that lags is still to play with. 3: observations' moments.
FORMAT = 3
_TENSOR_FILES = ("weights.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """State after ``progress.iterations`` iterations: with what options and where, in how many seconds.

    ``options`` are those that decide the result, as config.json has them; ``train_s`` is without start-up.
    """

    learner: LearnerState
    progress: Progress
    options: dict[str, Any]
    platform: dict[str, str | None]
    wall_s: float
    train_s: float


def save_checkpoint(run: Path, checkpoint: Checkpoint, keep: int, after: int | None = None) -> None:
    """Write a checkpoint, then remove those that are neither the first, the best nor among the last ``keep``.

    Those that a resumed run passed over as damaged stay until it has come as far itself: they are between
    ``after``, the good one before this, and this, or later.

    Raises:
        StorageError: It cannot be written; what was there before is untouched.
    """
    directory, number = run / "checkpoints", checkpoint.progress.iterations
    final = _path(run, number)
    temporary = directory / f".{final.name}.new"
    try:
        directory.mkdir(exist_ok=True)
        for leftover in [*directory.glob(".*.new"), *directory.glob(".*.old")]:
            shutil.rmtree(leftover)
        temporary.mkdir()
        for name, content in _files(checkpoint).items():
            write_durably(temporary / name, content)
        sync_directory(temporary)
        if final.exists():  # damaged: a good one would not be written again
            final.rename(_outdated(final))
        temporary.rename(final)
        sync_directory(directory)
        sync_directory(run)
        shutil.rmtree(_outdated(final), ignore_errors=True)
        numbers = [other for other in checkpoint_numbers(run) if other <= number]
        good = [other for other in numbers if after is None or other <= after or other == number]
        _remove(run, set(numbers) - {0, *good[-keep:], best_checkpoint(run, good)})
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise storage_error(final, error) from error


def _remove(run: Path, numbers: Iterable[int]) -> None:
    for number in sorted(numbers):
        # Hidden first: a half-removed checkpoint is never seen.
        outdated = _outdated(_path(run, number))
        _path(run, number).rename(outdated)
        shutil.rmtree(outdated)


def _outdated(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def checkpoint_numbers(run: Path) -> list[int]:
    """Iterations of which there is a checkpoint, good or damaged, in order."""
    return sorted(int(path.name) for path in run.glob("checkpoints/*") if path.name.isdigit())


def best_checkpoint(run: Path, among: Iterable[int] | None = None) -> int | None:
    """The checkpoint that is worth most, the latest among equals.

    By the mean return of its evaluation, where there are any; else of its last 100 episodes.
    """
    worth: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for number in checkpoint_numbers(run) if among is None else among:
        try:
            progress = _progress(_read_state(_path(run, number)))
        except CheckpointError:
            continue
        if progress.evaluation_mean is not None:
            worth[True][number] = progress.evaluation_mean
        elif progress.recent_returns:
            worth[False][number] = progress.recent_return_mean
    means = worth[True] or worth[False]
    return max(means, key=lambda number: (means[number], number), default=None)


def newest_checkpoint(
    run: Path, at_most: int | None = None, on_damaged: Callable[[CheckpointError], None] = lambda error: None
) -> Checkpoint | None:
    """The newest good checkpoint of at most so many iterations; None if there is none.

    ``on_damaged`` is told of each that is passed over. A newer version's raises CheckpointError.
    """
    for number in reversed(checkpoint_numbers(run)):
        if at_most is None or number <= at_most:
            try:
                return load_checkpoint(run, number)
            except CheckpointError as error:
                if not error.is_damage:
                    raise
                on_damaged(error)
    return None


def find_checkpoint(run: Path, which: str) -> Checkpoint:
    """A run's checkpoint: ``last``, ``best``, or the number of its iterations.

    Raises ConfigError for anything else, CheckpointError where there is none or it is damaged.
    """
    is_number = which.isascii() and which.isdigit() and len(which) < 16
    if which not in ("last", "best") and not is_number:
        raise ConfigError(f"--checkpoint cannot be {which!r}", "It takes last or best or a whole number.")
    if is_number:
        return load_checkpoint(run, int(which))
    if which == "best" and (best := best_checkpoint(run)) is not None:
        return load_checkpoint(run, best)
    newest = newest_checkpoint(run)
    if newest is None:
        raise CheckpointError(f"{run} has no good checkpoint", f"Resume the run: distpg resume {run}")
    return newest


def load_checkpoint(run: Path, number: int) -> Checkpoint:
    """The state after so many iterations; raises CheckpointError if it is missing, damaged or too new."""
    path = _path(run, number)
    state = _read_state(path)
    weights, optimiser = (_read_tensors(path / name, state["sha256"][name]) for name in _TENSOR_FILES)
    value = ValueState(
        _taken("value", weights), _taken("value", optimiser), Moments(**state["value_moments"])
    )
    observations = _taken("observations", optimiser)
    earlier: list[Weights] = []
    while older := _taken(f"earlier.{len(earlier)}", weights):
        earlier.append(older)
    learner = LearnerState(
        weights,
        optimiser,
        state["weights_seq_no"],
        tuple(earlier),
        value if value.weights else None,
        observations,
        Moments(**state.get("return_moments", {})),
    )
    others = (state[name] for name in ("options", "platform", "wall_s", "train_s"))
    return Checkpoint(learner, _progress(state), *others)


def check_same_options(run: Path, checkpoint: Checkpoint, config: TrainConfig) -> None:
    """Raise CheckpointError where a checkpoint is not of the run's own configuration."""
    options = in_present_terms(checkpoint.options)
    for name, value in deciding_options(config).items():
        there = options.get(name, value)
        if there != value:
            raise CheckpointError(
                f"the checkpoints of {run} are of another configuration: {name} is {there} there, "
                f"{value} in config.json",
                "Put back the config.json that the run was started with.",
                is_damage=False,
            )


def _path(run: Path, number: int) -> Path:
    return run / "checkpoints" / f"{number:06}"


def _files(checkpoint: Checkpoint) -> dict[str, bytes]:
    learner, progress = checkpoint.learner, checkpoint.progress
    value = learner.value or ValueState()
    weights = learner.weights | _under("value", value.weights)
    for number, earlier in enumerate(learner.earlier_weights):
        weights |= _under(f"earlier.{number}", earlier)
    optimiser = learner.optimiser | _under("value", value.optimiser)
    optimiser |= _under("observations", learner.observations)
    files = dict(zip(_TENSOR_FILES, map(save_tensors, (weights, optimiser)), strict=True))
    state = {
        "format": FORMAT,
        "progress": {**asdict(progress), "recent_returns": list(progress.recent_returns)},
        "weights_seq_no": learner.weights_seq_no,
        "value_moments": asdict(value.moments),
        "return_moments": asdict(learner.returns),
        "options": checkpoint.options,
        "platform": checkpoint.platform,
        "wall_s": checkpoint.wall_s,
        "train_s": checkpoint.train_s,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    # Last: a directory without state.json is no checkpoint.
    return {**files, "state.json": encode_state(state)}


def encode_state(state: Mapping[str, Any]) -> bytes:
    """state.json: the state and a checksum of itself, in the one way that it is ever written."""
    text = json.dumps(dict(state), indent=2, allow_nan=False)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**state, "sha256_of_the_above": checksum}, indent=2).encode()


def _read_state(path: Path) -> dict[str, Any]:
    try:
        content = (path / "state.json").read_bytes()
        state: dict[str, Any] = json.loads(content)
        state.pop("sha256_of_the_above")
        good = encode_state(state) == content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if not good:
        raise _damaged(path, "state.json does not match its checksum")
    if state["format"] > FORMAT:
        raise CheckpointError(
            f"checkpoint {path} was written by a newer version of distpg",
            "Upgrade distpg to at least the version that wrote it.",
            is_damage=False,
        )
    return state


def _read_tensors(path: Path, checksum: str) -> Weights:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path.parent, error) from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise _damaged(path.parent, f"{path.name} does not match its checksum")
    return load_tensors(content)


def _damaged(path: Path, reason: object) -> CheckpointError:
    if not path.is_dir():
        return CheckpointError(f"there is no checkpoint {path}", "Check its number; `last` is the newest.")
    if isinstance(reason, Exception):
        reason = f"{type(reason).__name__}: {reason}"
    return CheckpointError(f"checkpoint {path} is damaged: {reason}", "Use another one.")


def _progress(state: Mapping[str, Any]) -> Progress:
    values = state["progress"]
    return Progress(**{**values, "recent_returns": deque(values["recent_returns"], RECENT_EPISODES)})


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _taken(prefix: str, arrays: Weights) -> Weights:
    names = [name for name in arrays if name.startswith(f"{prefix}.")]
    return {name.removeprefix(f"{prefix}."): arrays.pop(name) for name in names}
