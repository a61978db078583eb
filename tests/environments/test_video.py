from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.environments.making import EnvSpec
from distpg.environments.video import Recording, frame_times, frames_per_s, picture_of
from distpg.errors import ConfigError, RenderError, StorageError

ODD = "tests.odd_environments"


@pytest.mark.parametrize(
    "frame",
    [
        np.full((4, 6, 3), 51, np.uint8),
        np.full((4, 6, 3), 0.2),
        np.full((4, 6, 3), 0.2, np.float32),
        np.array([0.2, 51.0]).repeat(4 * 3 * 3).reshape(4, 6, 3),
        np.full((4, 6, 3), 51, np.int64),
        np.full((4, 6), 51, np.uint8),
        np.full((4, 6, 1), 51, np.uint8),
        np.full((3, 4, 6), 51, np.uint8),
        np.full((4, 6, 4), 51, np.uint8),
        np.full((4, 6, 3), 51, np.uint8).tolist(),
        np.full((6, 4, 3), 51, np.uint8).transpose(1, 0, 2),
    ],
    ids=lambda frame: f"{np.asarray(frame).dtype}{np.shape(frame)}",
)
def test_frames_of_many_kinds_are_one_picture(frame: object) -> None:
    picture = picture_of(frame)
    assert (picture.mode, picture.size) == ("RGB", (6, 4))
    assert picture.getpixel((5, 3)) == (51, 51, 51)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "returns None"),
        (np.zeros((5, 6, 2)), r"shape \(5, 6, 2\)"),
        (np.zeros((2, 4, 6, 3)), r"shape \(2, 4, 6, 3\)"),
        (np.zeros((0, 6, 3)), r"shape \(0, 6, 3\)"),
        ("frame", "dtype <U5"),
        (np.full((4, 6, 3), 1000), "numbers from 1000 to 1000"),
        (np.full((4, 6, 3), -5.0), "numbers from -5 to -5"),
    ],
)
def test_what_is_no_frame_is_refused(frame: object, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        picture_of(frame)


@pytest.mark.parametrize("rate", [0.5, 10, 24, 25, 30, 50, 60, 100, 144, 1000])
def test_the_speed_is_right_on_average_and_no_frame_too_short(rate: float) -> None:
    count = 300
    kept, durations = frame_times(count, rate)
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(1000 * count / rate, abs=25)
    assert (kept[-1], len(kept)) == (count - 1, len(durations))
    assert kept == list(range(count)) or rate > 50
    # Each is shown at its time, within a frame's own.
    starts = np.cumsum([0, *durations[:-1]])
    assert (abs(starts - 1000 * np.array(kept) / rate) <= 30).all()


@pytest.mark.parametrize(
    ("rate", "is_taken"), [(25, True), (0, False), (None, False), ("fast", False), (-3, False)]
)
def test_a_rate_that_is_none_is_thirty(rate: object, is_taken: bool) -> None:
    import gymnasium

    env = gymnasium.make(f"{ODD}:Draws", rate=rate)
    assert frames_per_s(env) == (rate if is_taken else 30)


FAULTS = [
    ({"picture": "gymnasium.error.DependencyNotInstalled('pygame is not installed')"}, "distpg[render]"),
    ({"picture": "TypeError('blit')"}, "Its own code that draws failed"),
    ({"picture": "SystemExit(1)"}, "Its own code that draws failed"),
    ({"picture": "RuntimeError('gladLoadGL error')"}, "OpenGL"),
    ({"picture": "NotImplementedError()"}, "needs a method render"),
    ({"picture": "None"}, "render mode rgb_array"),
    ({"picture": "np.zeros((2, 2))[:, :, None, None]"}, "uint8[height, width, 3]"),
    ({"no_render_mode": True}, "argument render_mode"),
]


@pytest.mark.parametrize(("kwargs", "hint"), FAULTS)
def test_a_fault_in_drawing_ends_the_recording_alone(in_tmp_path: Path, kwargs: dict, hint: str) -> None:
    recording = Recording(Path("a.gif"))
    env = recording.watch(EnvSpec(f"{ODD}:Draws", kwargs))
    env.reset(seed=1)
    assert env.step(0)[1] == 1.0, "it plays on"
    with pytest.raises(RenderError, match=f"^{ODD}:Draws cannot be drawn: ") as caught:
        recording.save()
    assert hint in caught.value.hint
    assert "env-kwargs" not in caught.value.hint
    assert not Path("a.gif").exists()


def test_what_was_played_is_told_before_the_fault(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"num_env_runners": 0, "max_iterations": 1, "env_reuse": "always"}
    kwargs = {"picture": "TypeError('blit')"}
    distpg.train(TrainConfig(env_id=f"{ODD}:Draws", env_kwargs=kwargs, run_dir="run", **options))
    for command in (["evaluate", "run", "--num-episodes", "2"], ["replay", "run", "--episode", "0"]):
        assert main([*command, "--video", "a.gif"]) == 1
        captured = capsys.readouterr()
        assert "return " in captured.out
        assert captured.err.startswith(f"error: {ODD}:Draws cannot be drawn: TypeError: blit\nhint: ")


def test_a_film_shows_every_frame_at_its_time(in_tmp_path: Path) -> None:
    import imageio_ffmpeg

    recording = Recording(Path("a.mp4"))
    env = recording.watch(EnvSpec(f"{ODD}:Draws", {"picture": "np.full((31, 45, 3), 0.1 * t)", "rate": 50}))
    env.reset(seed=1)
    for _ in range(4):
        env.step(0)
    recording.save()
    count, seconds = imageio_ffmpeg.count_frames_and_secs("a.mp4")
    assert (count, seconds) == (5, pytest.approx(0.1))


def test_a_film_that_cannot_be_written_says_why(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(Path("a.mp4"))
    recording.watch(EnvSpec(f"{ODD}:Draws", {"picture": "np.zeros((4, 4, 3))"})).reset(seed=1)
    Path("a.mp4").mkdir()
    with pytest.raises(StorageError, match=r"cannot write a\.mp4: ffmpeg: .*Is a directory"):
        recording.save()
    monkeypatch.setattr("distpg.environments.video.find_ffmpeg", lambda: None)
    with pytest.raises(ConfigError, match="needs ffmpeg") as caught:
        Recording(Path("b.mp4"))
    assert "pip install imageio-ffmpeg" in caught.value.hint


def test_pictures_that_change_their_size_and_only_one(in_tmp_path: Path) -> None:
    for name in ("a.gif", "a.webp"):
        recording = Recording(Path(name))
        spec = EnvSpec(f"{ODD}:Draws", {"picture": "np.full((10 + t, 20, 3), 0.01 * t)", "rate": 60})
        env = recording.watch(spec)
        env.reset(seed=1)
        for _ in range(2):
            env.step(0)
        recording.save()
        with Image.open(name) as video:
            assert getattr(video, "n_frames", 1) == 2


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        ("render", 1, "WindowDraws cannot be drawn: RuntimeError: No available video device"),
        ("move", 1, "WindowDraws failed in episode 0, step 0: RuntimeError: No available video device"),
    ],
)
def test_a_window_that_cannot_be_drawn(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, code: int, words: str
) -> None:
    options = {"num_env_runners": 0, "max_iterations": 1, "env_reuse": "always"}
    kwargs = {"where": where}
    distpg.train(TrainConfig(env_id=f"{ODD}:WindowDraws", env_kwargs=kwargs, run_dir="run", **options))
    assert main(["replay", "run", "--episode", "0", "--render"]) == code
    assert words in capsys.readouterr().err
