"""The second table of benchmarks.envs: packages that others have written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import digests

ITERATIONS, RUNNERS = 3, (0, 2)


class Subject(NamedTuple):
    package: str
    env_id: str
    options: tuple[str, ...] = ()


OURS = "benchmarks.third_party_environments"
SUBJECTS = [
    Subject("minigrid", "minigrid:MiniGrid-Empty-5x5-v0", ("--drop-observations", "mission")),
    Subject("highway-env", "highway_env:highway-fast-v0"),
    Subject("ale-py", "ale_py:ALE/Pong-v5", ("--env-kwargs", '{"obs_type": "ram"}')),
    Subject("ale-py", "ale_py:ALE/Pong-v5", ("--policy", "cnn", "--max-episode-steps", "200")),
    Subject("flappy-bird-gymnasium", "flappy_bird_gymnasium:FlappyBird-v0"),
    Subject("gym-anytrading", "gym_anytrading:stocks-v0"),
    Subject(
        "mo-gymnasium",
        "mo_gymnasium:deep-sea-treasure-v0",
        ("--wrappers", "mo_gymnasium.wrappers:LinearReward"),
    ),
    Subject("JSSEnv", f"{OURS}:JobShop"),
    Subject("gym-simplegrid", "gym_simplegrid:SimpleGrid-8x8-v0"),
    Subject("matrix-mdp-gym", f"{OURS}:matrix_mdp"),
    Subject("econgym", f"{OURS}:Firm"),
]


def print_table(only: list[str], others: list[str], directory: Path) -> None:
    """Of each package: is it trained on, drawn and replayed, and what does doctor say?

    Args:
        only: Packages; none: all.
        others: Options of ``distpg train``.
    """
    print("| package | environment | digests, 0 and 2 runners | evaluate, video | replay | doctor |")
    print("|---|---|---|---|---|---|", flush=True)
    for number, subject in enumerate(SUBJECTS):
        if not only or subject.package in only:
            print(f"| {' | '.join(_cells(subject, others, directory / str(number)))} |", flush=True)


def _cells(subject: Subject, others: list[str], directory: Path) -> list[str]:
    environment = ["--env-id", subject.env_id, *subject.options]
    options = [*environment, "--max-iterations", str(ITERATIONS), "--quiet", *others]
    runs = {runners: directory / f"runners-{runners}" for runners in RUNNERS}
    for runners, run in runs.items():
        failure = _distpg("train", *options, "--num-env-runners", str(runners), "--run-dir", str(run)).failure
        if failure:
            return [subject.package, " ".join(environment[1:]), failure, "", "", ""]
    found = [digests(run) for run in runs.values()]
    equal = "equal" if found[0] == found[1] and len(found[0]) == ITERATIONS else "DIFFER"
    video = directory / "episode.gif"
    drawn = _distpg("evaluate", str(runs[0]), "--num-episodes", "1", "--quiet", "--video", str(video))
    played = drawn
    if drawn.failure:  # is it that it cannot be drawn?
        played = _distpg("evaluate", str(runs[0]), "--num-episodes", "1", "--quiet")
    evaluated = "ok" if not drawn.failure else played.failure or f"ok, but {drawn.failure}"
    replayed = _distpg("replay", str(runs[0]), "--episode", "5", "--quiet").failure or "ok"
    said = _distpg("doctor", *environment).output.splitlines()
    about = ("reproducible", "observations of", "an action is")
    words = [line[6:] for line in said if line.startswith("fail") or any(word in line for word in about)]
    return [subject.package, f"`{' '.join(environment[1:])}`", equal, evaluated, replayed, "; ".join(words)]


class _Done(NamedTuple):
    output: str
    failure: str


def _distpg(*arguments: str) -> _Done:
    command = [sys.executable, "-m", "distpg", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    return _Done(done.stdout, (errors or [f"exit code {done.returncode}"])[0] if done.returncode else "")
