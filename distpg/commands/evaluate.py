"""``distpg evaluate``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from distpg.commands.options import RunOptions
from distpg.commands.parser import parse
from distpg.config.option_types import Range
from distpg.errors import ConfigError


@dataclass(frozen=True)
class EvaluateOptions(RunOptions):
    """Play episodes with a run's policy and report their mean return."""

    num_episodes: Annotated[int, Range(1)] = 100
    """Episodes to play; none of them was trained on"""
    greedy: bool = False
    """Greedy policy, the most probable action; this is the default"""
    sampled: bool = False
    """Sample actions from the softmax policy, as in training"""
    checkpoint: str = "last"
    """Weights to use: last, best, or a checkpoint's number"""
    video: str | None = None
    """File for the first episode: .gif, .webp or .mp4"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment that take the place of the run's, as JSON"""
    episodes_at_once: Annotated[int, Range(1, 2**20)] = 64
    """Episodes that are played side by side, each in an environment of its own"""
    num_env_runners: Annotated[int, Range(0, 100_000)] = 0
    """EnvRunners (Ray actors) that play them; 0: play in this process, without Ray"""


def run(arguments: list[str]) -> int:
    """Play the episodes and print their returns."""
    options = parse(EvaluateOptions(), "distpg evaluate", arguments)
    if options.greedy and options.sampled:
        raise ConfigError("--greedy and --sampled exclude each other", "Give one of them.")

    from distpg.system.streams import own_stdout
    from distpg.training.evaluation import evaluate

    video = Path(options.video) if options.video else None
    with own_stdout():
        result = evaluate(
            options.run,
            options.num_episodes,
            not options.sampled,
            options.checkpoint,
            video,
            options.episodes_at_once,
            options.num_env_runners,
            env_kwargs=options.env_kwargs,
        )
    if not options.quiet:
        print(
            f"{'sampled' if options.sampled else 'greedy'} policy after {result.iterations} iterations, "
            f"{options.num_episodes} episodes\n"
            f"mean return {result}, from {result.returns.min():.1f} to {result.returns.max():.1f}\n"
            f"mean length {result.lengths.mean():.1f}"
        )
    if result.video_fault is not None:
        raise result.video_fault
    return 0
