"""An episode as a moving picture."""

import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from distpg.environments.envs import Env, EnvSpec, make_env
from distpg.errors import ConfigError, RenderError
from distpg.system.files import check_directory_of, writing

_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_DEFAULT_FRAMES_PER_S = 30


class Recording:
    """Frames of the first episode that a watched environment plays, compressed as they come.

    Raises:
        ConfigError: The file's name does not end in .gif or .webp, or its directory is not there.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in _FORMATS:
            raise ConfigError(f"--video cannot be {path}", f"Its name must end in {' or '.join(_FORMATS)}.")
        check_directory_of(path, "--video")
        self._path = path
        self._frames: list[bytes] = []
        self._frames_per_s = _DEFAULT_FRAMES_PER_S

    def watch(self, spec: EnvSpec) -> Env:
        """The environment, its frames coming here; raises EnvironmentIdError if it cannot be made."""
        env = make_env(spec, render_mode="rgb_array")
        self._frames_per_s = env.metadata.get("render_fps") or _DEFAULT_FRAMES_PER_S
        return _Watched(env, self)

    def add(self, frame: object) -> None:
        """Take one more frame, uint8[height, width, 3]."""
        if not isinstance(frame, np.ndarray):
            raise RenderError("the environment draws nothing", "It needs the render mode rgb_array.")
        compressed = io.BytesIO()
        Image.fromarray(frame).save(compressed, "PNG", compress_level=1)
        self._frames.append(compressed.getvalue())

    def save(self) -> None:
        """Write the file; raises StorageError where it cannot be written."""
        frames = (Image.open(io.BytesIO(frame)) for frame in self._frames)
        with writing(self._path):
            next(frames).save(
                self._path,
                _FORMATS[self._path.suffix.lower()],
                save_all=True,
                append_images=frames,
                duration=round(1000 / self._frames_per_s),
                loop=0,
            )


class _Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws after the first reset and each step, up to the end of that episode."""

    def __init__(self, env: Env, recording: Recording) -> None:
        super().__init__(env)
        self._recording = recording
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
            self._recording.add(self.render())
