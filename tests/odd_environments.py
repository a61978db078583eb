"""Small environments for the tests; importable by runners as ``tests.odd_environments:Id``."""

import contextlib
import ctypes
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class ShortOrLong(gymnasium.Env):
    """Episodes of 2 or of 200 steps, decided by the reset seed, each with probability one half."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.remaining = 2 if self.np_random.random() < 0.5 else 200
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Step:
        self.remaining -= 1
        return np.zeros(1, np.float32), 1.0, self.remaining == 0, False, {}


class OffsetActions(ShortOrLong):
    """Actions are 5, 6 and 7; the reward is the action."""

    action_space = gymnasium.spaces.Discrete(3, start=5)

    def step(self, action: int) -> Step:
        assert self.action_space.contains(action)
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action), terminated, truncated, info


class Fails(ShortOrLong):
    """Raises at the third step of long episodes, or of that share of them."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        result = super().reset(**kwargs)
        self.fails = self.np_random.random() < self.share
        return result

    def step(self, action: int) -> Step:
        result = super().step(action)
        if self.remaining == 197 and self.fails:
            raise ValueError("the simulator broke")
        return result


class Deadly(ShortOrLong):
    """Kills its process in the first step after ``reset(seed)`` with that seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.is_it = seed == self.seed
        return super().reset(seed=seed)

    def step(self, action: int) -> Step:
        if self.is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class FailsAtSeed(Deadly):
    """Episodes of two steps; the one with that seed fails."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        result = super().reset(seed=seed)
        self.remaining = 2
        return result

    def step(self, action: int) -> Step:
        if self.is_it:
            raise ValueError("the simulator broke")
        return ShortOrLong.step(self, action)


class HangsOnce(Deadly):
    """Waits for ever in that step the first time; ``marker`` remembers that it did."""

    def __init__(self, seed: int, marker: str) -> None:
        super().__init__(seed)
        self.marker = Path(marker)

    def step(self, action: int) -> Step:
        if self.is_it and not self.marker.exists():
            self.marker.touch()
            threading.Event().wait()
        return ShortOrLong.step(self, action)


class DiesAtOnce(ShortOrLong):
    """Kills its process when it is made."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KillsOnce(ShortOrLong):
    """Kills its process at the first step taken anywhere; ``marker`` remembers that it did."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def step(self, action: int) -> Step:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Spoils(ShortOrLong):
    """Gives at its second step what no environment should."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.count = 0
        return super().reset(**kwargs)

    def step(self, action: int) -> Any:
        result = list(super().step(action))
        self.count += 1
        if self.count == 2:
            result[2] = False
            where, what = {
                "nan": (0, np.array([np.nan], np.float32)),
                "infinite": (0, np.array([-np.inf, np.inf], np.float32)[1:]),
                "too large": (0, np.array([1e300])),
                "shape": (0, np.zeros(2, np.float32)),
                "text": (0, np.array(["left"])),
                "reward": (1, float("nan")),
                "no reward": (1, None),
            }[self.kind]
            result[where] = what
        return tuple(result)


class Drawn(ShortOrLong):
    """Episodes of 2 or 20 steps that can be drawn; the picture is darker with every step."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 25}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        result = super().reset(seed=seed)
        self.remaining = min(self.remaining, 20)
        return result

    def render(self) -> np.ndarray:
        return np.full((24, 32, 3), 10 * self.remaining, np.uint8)


class Unrepeatable(ShortOrLong):
    """Its rewards come from a counter of the whole process."""

    steps = 0

    def step(self, action: int) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        Unrepeatable.steps += 1
        return observation, float(Unrepeatable.steps), terminated, truncated, info


class NeverTheSame(Unrepeatable):
    """The counter of one process never comes to where that of another one has been."""

    def __init__(self) -> None:
        super().__init__()
        Unrepeatable.steps = max(Unrepeatable.steps, os.getpid() << 20)


class Walk(gymnasium.Env):
    """20 steps; the observation is random and of size 2. A subclass says where else randomness comes from."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def step(self, action: int) -> Step:
        self.t += 1
        return self.observe(), float(action), self.t == 20, False, {}

    def observe(self) -> np.ndarray:
        return np.array([self.np_random.normal(), self.disturbance()], np.float32)

    def disturbance(self) -> float:
        return 0.0


class Unscaled(Walk):
    """Observations of that size, and rewards that are multiplied and then added to."""

    def __init__(self, size: float = 1.0, times: float = 1.0, plus: float = 0.0) -> None:
        self.size, self.times, self.plus = size, times, plus
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def step(self, action: int) -> Step:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, self.times * reward + self.plus, terminated, truncated, info

    def observe(self) -> np.ndarray:
        return np.float32(self.size) * super().observe()


class ChangesDirectory(Walk):
    """Goes elsewhere when it is made."""

    def __init__(self, to: str = "/") -> None:
        os.chdir(to)


class FailsToClose(Walk):
    """Raises when it is closed, once it was stepped."""

    def close(self) -> None:
        if hasattr(self, "t"):
            raise ValueError("the licence server is gone")


class Interrupts(Walk):
    """Sends SIGINT at the first step of the episode with that seed, and swallows what it raises."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.is_it = seed == self.seed
        return super().reset(seed=seed)

    def step(self, action: int) -> Step:
        if self.is_it and self.t == 0:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


class SurvivesReset(Walk):
    """Counts its resets."""

    resets = -1

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.resets += 1
        return super().reset(**kwargs)

    def disturbance(self) -> float:
        return float(self.resets)


class PythonRandom(Walk):
    """Uses the module ``random``."""

    def disturbance(self) -> float:
        return random.random()


class NumpyRandom(Walk):
    """Uses NumPy's global generator."""

    def disturbance(self) -> float:
        return np.random.random()


class SetOrder(Walk):
    """Goes through a set of strings in the set's own order."""

    def disturbance(self) -> float:
        return int("".join({str(number) for number in range(10)})) / 1e9


class OnTheClock(Walk):
    """Looks at the clock, in days."""

    def disturbance(self) -> float:
        return time.time() / 86400 % 10


class Unseeded(Walk):
    """Has a generator of its own, which reset(seed) does not seed."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng()

    def disturbance(self) -> float:
        return self.generator.normal()


class Everything(Walk):
    """All defects at once that do not hide each other."""

    resets = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.resets += 1
        return super().reset(**kwargs)

    def disturbance(self) -> float:
        order = int("".join({str(number) for number in range(10)})) / 1e10
        return order + random.random() + np.random.random() + time.monotonic() % 1 + self.resets / 10


class Talks(Walk):
    """Prints."""

    def disturbance(self) -> float:
        print("hello")
        return 0.0


class Slow(Walk):
    """20 steps a second."""

    def disturbance(self) -> float:
        time.sleep(0.05)
        return 0.0


class EndsItsProcess(Walk):
    """Ends its process at the first step, in silence."""

    def disturbance(self) -> float:
        if self.t:
            os._exit(3)
        return 0.0


class Meddles(Walk):
    """Changes what torch and NumPy do in its process, when it is made and at every step; or does not."""

    def __init__(self, meddles: bool = True) -> None:
        self.meddles = meddles
        self.disturbance()

    def disturbance(self) -> float:
        if self.meddles:
            import torch

            torch.set_num_threads(4)
            torch.set_default_dtype(torch.float64)
            torch.set_default_device("meta")
            torch.set_grad_enabled(False)
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_float32_matmul_precision("medium")
            torch.set_autocast_enabled("cpu", True)
            np.seterr(all="raise")
        return 0.0


class Walker(gymnasium.ActionWrapper):
    """BipedalWalker-v3 with buttons: an action is full torque one way or the other in each of four joints."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("BipedalWalker-v3", disable_env_checker=True))
        self.action_space = gymnasium.spaces.Discrete(16)

    def action(self, action: int) -> np.ndarray:
        return np.array([1.0 if action >> joint & 1 else -1.0 for joint in range(4)], np.float32)


for env in (
    *(ShortOrLong, OffsetActions, Fails, Spoils, KillsOnce, Deadly, FailsAtSeed, HangsOnce, DiesAtOnce),
    *(Walk, SurvivesReset, PythonRandom, NumpyRandom, SetOrder, OnTheClock, Unseeded),
    *(Meddles, Unscaled, ChangesDirectory, FailsToClose, Interrupts),
    *(Walker, Drawn, Unrepeatable, NeverTheSame, Everything, Talks, Slow, EndsItsProcess),
):
    gymnasium.register(id=env.__name__, entry_point=env, max_episode_steps=1000)


class InstallsHandler(Walk):
    """As simulators do that want to end properly: only in a main thread."""

    def __init__(self) -> None:
        signal.signal(signal.SIGUSR2, lambda number, frame: None)


class Gives(ShortOrLong):
    """Gives from the first on what ``part`` is evaluated to: a part of a step, a whole step, or a reset."""

    def __init__(self, part: str, what: str) -> None:
        self.part = part
        self.what = what

    def given(self) -> Any:
        return eval(self.what, {"np": np})

    def reset(self, **kwargs: Any) -> Any:
        result = super().reset(**kwargs)
        if self.part == "reset":
            return self.given()
        return (self.given(), {}) if self.part == "observation" else result

    def step(self, action: int) -> Any:
        result = list(super().step(action))
        parts = ("observation", "reward", "terminated", "truncated", "info")
        if self.part == "step":
            return self.given()
        if self.part in parts:
            result[parts.index(self.part)] = self.given()
        return tuple(result)


class NoOptions(ShortOrLong):
    """Its reset takes a seed alone."""

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict]:
        return super().reset(seed=seed)


class OfSpaces(ShortOrLong):
    """Spaces as asked for."""

    def __init__(self, observations: str, actions: str) -> None:
        self.observation_space = eval(observations, {"np": np, **vars(gymnasium.spaces)})
        self.action_space = eval(actions, vars(gymnasium.spaces))


class UnspeakableError(Exception):
    """One that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Closes(Walk):
    """Notes in ``directory`` that it was closed, or hangs."""

    def __init__(self, directory: str, hangs: bool = False) -> None:
        self.directory, self.hangs = Path(directory), hangs

    def close(self) -> None:
        (self.directory / f"{os.getpid()}-{id(self)}").touch()
        if self.hangs:
            threading.Event().wait()


class TakesNumpyActions(Walk):
    """Written for libraries that give actions as NumPy's numbers."""

    def step(self, action: Any) -> Step:
        return super().step(action.item())


class Raising(ShortOrLong):
    """Raises what is named, in the method that is named."""

    def __init__(self, where: str, what: str = "SystemExit(0)") -> None:
        self.where, self.what = where, what
        self.raise_in("init")

    def raise_in(self, where: str) -> None:
        if where == self.where:
            if self.what == "hang":
                threading.Event().wait()
            raise eval(self.what)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.raise_in("reset")
        return super().reset(**kwargs)

    def step(self, action: int) -> Step:
        self.raise_in("step")
        return super().step(action)

    def close(self) -> None:
        self.raise_in("close")


class Moves(ShortOrLong):
    """Goes, as it is made, to the directory of its data, which a step reads."""

    def __init__(self, directory: str) -> None:
        os.chdir(directory)
        os.environ["ODD_ENVIRONMENT"] = "1"
        np.seterr(all="raise")

    def step(self, action: int) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(Path("reward").read_text()), terminated, truncated, info


class Takes(Walk):
    """As slow as asked for; ``log`` gets a line for each environment made, each reset and each step."""

    def __init__(self, make_s: float, step_s: float, log: str) -> None:
        self.step_s, self.log = step_s, Path(log)
        self.note("made")
        time.sleep(make_s)

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def disturbance(self) -> float:
        self.note("step")
        time.sleep(self.step_s)
        return 0.0


class Draws(Drawn):
    """Draws what the text is evaluated to; it may take no render mode, and its rate may be odd."""

    def __init__(self, picture: str = "", rate: Any = 25, **kwargs: Any) -> None:
        if kwargs.pop("no_render_mode", False) and kwargs:
            raise TypeError("Draws.__init__() got an unexpected keyword argument 'render_mode'")
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        self.render_mode = kwargs.get("render_mode")
        self.picture = picture

    def render(self) -> Any:
        picture = eval(self.picture, {"np": np, "t": self.remaining, "gymnasium": gymnasium})
        if isinstance(picture, BaseException):
            raise picture
        return picture


class TalksNatively(Walk):
    """Prints as Python does, to the descriptor itself, and by the C library, which holds what it is given."""

    def disturbance(self) -> float:
        print("from Python")
        os.write(1, b"from a descriptor\n")
        ctypes.CDLL(None).printf(b"from C\n")
        return 0.0


class Large(Walk):
    """Observations of about 1,000."""

    observation_space = gymnasium.spaces.Box(-2000, 2000, (2,), np.float32)

    def disturbance(self) -> float:
        return 1000.0


class WindowDraws(ShortOrLong):
    """Has no window to draw, or fails beside it, where it is to have one."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human"], "render_fps": 25}

    def __init__(self, where: str, render_mode: str | None = None) -> None:
        self.where, self.render_mode = where, render_mode

    def step(self, action: int) -> Step:
        if self.render_mode == "human":
            self._render_frame() if self.where == "render" else self.fail()
        return super().step(action)

    def _render_frame(self) -> None:
        self.fail()

    def fail(self) -> None:
        raise RuntimeError("No available video device")


for env in (
    WindowDraws,
    TalksNatively,
    Large,
    Gives,
    NoOptions,
    OfSpaces,
    Raising,
    Moves,
    Takes,
    Draws,
    InstallsHandler,
    Closes,
    TakesNumpyActions,
):
    gymnasium.register(id=env.__name__, entry_point=env, max_episode_steps=1000)
