"""``distpg replay``."""

from dataclasses import dataclass
from pathlib import Path

from distpg.commands.options import RunOptions
from distpg.commands.parser import parse
from distpg.errors import ConfigError


@dataclass(frozen=True)
class ReplayOptions(RunOptions):
    """Play an episode of a run again, and compare it with the run's record of it."""

    episode: int | None = None
    """Number of the episode, as in episodes.csv"""
    render: bool = False
    """Show the environment's own window"""
    video: str | None = None
    """File for the episode: .gif, .webp or .mp4"""


def run(arguments: list[str]) -> int:
    """Play the episode, and print how it compares."""
    options = parse(ReplayOptions(), "distpg replay", arguments)
    if options.episode is None:
        raise ConfigError("distpg replay needs --episode", "Example: distpg replay RUN --episode 0")

    from distpg.system.streams import own_stdout
    from distpg.training.replay import replay, show

    video = Path(options.video) if options.video else None
    with own_stdout() as out:

        def say(line: str) -> None:
            if not options.quiet:
                print(line, file=out, flush=True)

        played = replay(options.run, options.episode, options.render, video, say)
    if not options.quiet:
        print(show(played))
    if played.video_fault is not None:
        raise played.video_fault
    return 0
