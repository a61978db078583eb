"""MP4 files, by whatever ffmpeg there is."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def find_ffmpeg() -> str | None:
    """The program: the machine's own, or imageio-ffmpeg's; None: there is none."""
    if (own := shutil.which("ffmpeg")) is not None:
        return own
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # a package without the program in it
        return None


def write_mp4(ffmpeg: str, path: Path, frames: Iterable[Image.Image], frames_per_s: float) -> None:
    """Write pictures of one size, each as long as the others (OSError: that failed; it says why)."""
    sizes: tuple[int, int] = (2, 2)
    process = None
    for frame in frames:
        if process is None:
            # Most players want colours for two by two pixels.
            width, height = frame.size
            sizes = (max(2, width // 2 * 2), max(2, height // 2 * 2))
            process = _start(ffmpeg, path, sizes, frames_per_s)
        assert process.stdin is not None
        try:
            process.stdin.write(frame.resize(sizes).convert("RGB").tobytes())
        except BrokenPipeError:
            break  # it says why itself
    assert process is not None, "an episode has a frame at least"
    _, said = process.communicate()
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        raise OSError(f"ffmpeg: {lines[-1] if lines else f'exit code {process.returncode}'}")


def _start(ffmpeg: str, path: Path, size: tuple[int, ...], frames_per_s: float) -> subprocess.Popen[bytes]:
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{frames_per_s}"]
    command = [ffmpeg, "-loglevel", "error", "-y", *pictures, "-i", "-", "-pix_fmt", "yuv420p", str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
