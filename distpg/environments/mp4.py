"""MP4 files, by whatever ffmpeg there is."""

import importlib.util
import itertools
import shutil
import subprocess
import tempfile
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
    pictures_left = iter(frames)
    first = next(pictures_left)
    # Most players want colours for two by two pixels.
    width, height = (max(2, side // 2 * 2) for side in first.size)
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{frames_per_s}"]
    command = [ffmpeg, "-loglevel", "error", "-y", *pictures, "-i", "-", "-pix_fmt", "yuv420p", str(path)]
    # What it says goes to a file: a pipe that nobody reads meanwhile could fill.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process,
    ):
        assert process.stdin is not None
        try:
            for frame in itertools.chain([first], pictures_left):
                process.stdin.write(frame.resize((width, height)).convert("RGB").tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why itself
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise OSError(f"ffmpeg: {lines[-1] if lines else f'exit code {process.returncode}'}")
