"""An episode as a moving picture."""

import contextlib
import io
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distpg.environments.envs import make_env
from distpg.environments.failures import cannot_draw
from distpg.environments.making import Env, EnvSpec
from distpg.environments.mp4 import find_ffmpeg, write_mp4
from distpg.errors import ConfigError, RenderError
from distpg.system.files import check_directory_of, writing
from distpg.system.interrupts import Interrupted

_FORMATS = {".gif": "GIF", ".webp": "WEBP", ".mp4": "MP4"}
_DEFAULT_FRAMES_PER_S = 30.0
# GIF counts in hundredths of a second, and viewers show a frame that has less than two for ten.
_UNIT_MS, _SHORTEST_MS = 10, 20
_CHANNELS = (1, 3, 4)


class Recording:
    """Frames of the first episode that a watched environment plays, compressed as they come.

    What goes wrong with them ends the recording and not the episode: :meth:`save` tells.

    Raises:
        ConfigError: The file's name does not end in .gif, .webp or .mp4, its directory is not there, or
            there is no ffmpeg for the latter.
    """

    def __init__(self, path: Path) -> None:
        self._format = _FORMATS.get(path.suffix.lower())
        if self._format is None:
            raise ConfigError(f"--video cannot be {path}", f"Its name must end in {' or '.join(_FORMATS)}.")
        check_directory_of(path, "--video")
        self._ffmpeg = find_ffmpeg() if self._format == "MP4" else None
        if self._format == "MP4" and self._ffmpeg is None:
            raise ConfigError(
                f"--video {path} needs ffmpeg, which is not there",
                "Install it with pip install imageio-ffmpeg, or name a .gif or .webp file.",
            )
        self._path = path
        self._frames: list[bytes] = []
        self._size: tuple[int, int] | None = None
        self._frames_per_s = _DEFAULT_FRAMES_PER_S
        self._fault: RenderError | None = None

    def watch(self, spec: EnvSpec) -> Env:
        """The environment, its frames coming here; raises EnvironmentIdError if it cannot be made."""
        try:
            env = make_env(spec, render_mode="rgb_array")
        except RenderError as error:
            self._fault = error
            return make_env(spec)
        self._frames_per_s = frames_per_s(env)
        return _Watched(env, self, spec.env_id)

    def draw(self, env: Env, env_id: str) -> None:
        """Take one more frame."""
        if self._fault is not None:
            return
        try:
            picture = picture_of(env.render())
            # Some environments change the size of their pictures; a file has one.
            self._size = self._size or picture.size
            compressed = io.BytesIO()
            picture.resize(self._size).save(compressed, "PNG", compress_level=1)
            self._frames.append(compressed.getvalue())
        except Interrupted:
            raise
        except RenderError as error:
            self._fault = RenderError(f"{env_id} cannot be drawn: {error.message}", error.hint)
        except BaseException as error:  # whatever the environment raises
            self._fault = cannot_draw(env_id, error)

    def save(self) -> None:
        """Write the file (RenderError: frames could not be had; StorageError: it cannot be written)."""
        if self._fault is not None:
            raise self._fault
        kept, durations = frame_times(len(self._frames), self._frames_per_s)
        numbers = kept if self._ffmpeg is None else range(len(self._frames))
        frames = (Image.open(io.BytesIO(self._frames[number])) for number in numbers)
        with writing(self._path):
            if self._ffmpeg is not None:
                write_mp4(self._ffmpeg, self._path, frames, self._frames_per_s)
                return
            next(frames).save(
                self._path,
                self._format,
                save_all=True,
                append_images=frames,
                duration=durations,
                loop=0,
            )


def frames_per_s(env: Env) -> float:
    """What the environment says of itself, where that can be."""
    try:
        number = float(env.metadata.get("render_fps") or 0)
    except (TypeError, ValueError, AttributeError):
        number = 0.0
    return number if 0.01 <= number <= 10_000 else _DEFAULT_FRAMES_PER_S


def frame_times(count: int, frames_per_s: float) -> tuple[list[int], list[int]]:
    """Which of so many frames are shown, and each for how many ms: the speed is right on average."""
    kept: list[int] = []
    durations: list[int] = []
    shown_ms = 0
    for number in range(count):
        end_ms = _UNIT_MS * round(1000 * (number + 1) / frames_per_s / _UNIT_MS)
        if number == count - 1:  # how it ended is always to be seen
            end_ms = max(end_ms, shown_ms + _SHORTEST_MS)
        if end_ms - shown_ms >= _SHORTEST_MS:
            kept.append(number)
            durations.append(end_ms - shown_ms)
            shown_ms = end_ms
    return kept, durations


def picture_of(frame: Any) -> Image.Image:
    """A frame as RGB; raises RenderError where it cannot be understood.

    Args:
        frame: Of a height and a width, and 1, 3 or 4 channels, last or first, or none; of uint8 or other
            integers, or of floats from 0 to 1 or to 255.
    """
    if frame is None:
        raise RenderError("its render() returns None", "It needs the render mode rgb_array.")
    array = np.asarray(frame)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = array.transpose(1, 2, 0)
    if (
        array.ndim != 3
        or array.shape[2] not in _CHANNELS
        or array.size == 0
        or array.dtype.kind not in "biuf"
    ):
        raise RenderError(
            f"a frame is of shape {np.shape(frame)} and dtype {array.dtype}",
            "It must be uint8[height, width, 3].",
        )
    if array.dtype != np.uint8:
        array = _bytes(array)
    colours = array if array.shape[2] > 1 else array.repeat(3, axis=2)
    return Image.fromarray(np.ascontiguousarray(colours[:, :, :3]))


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    numbers = np.nan_to_num(array.astype(np.float64))
    low, high = numbers.min(), numbers.max()
    if low < -1 or high > 256:
        raise RenderError(
            f"a frame has numbers from {low:g} to {high:g}", "They must be from 0 to 1 or to 255."
        )
    # Rounding may lead a little beyond.
    is_share = array.dtype.kind in "bf" and high <= 1.01
    scaled: NDArray[np.uint8] = (numbers * (255 if is_share else 1)).clip(0, 255).round().astype(np.uint8)
    return scaled


class _Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws after the first reset and each step, up to the end of that episode."""

    def __init__(self, env: Env, recording: Recording, env_id: str) -> None:
        super().__init__(env)
        self._recording = recording
        self._env_id = env_id
        self._resets = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        result = super().reset(**kwargs)
        self._resets += 1
        self._draw()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = super().step(action)
        self._draw()
        return result

    def _draw(self) -> None:
        if self._resets == 1:
            self._recording.draw(self.env, self._env_id)


class Shown(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that draws its own window as it is reset and stepped; a fault of that is no episode's.

    Its calls raise RenderError where that comes from a function named after rendering.
    """

    def __init__(self, env: Env, env_id: str) -> None:
        super().__init__(env)
        self._env_id = env_id

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment's own."""
        with self._drawing():
            return super().reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's own."""
        with self._drawing():
            return super().step(action)

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if any("render" in frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)):
                raise cannot_draw(self._env_id, error) from error
            raise
