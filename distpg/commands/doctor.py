"""``distpg doctor``."""

from dataclasses import dataclass, fields

from distpg.commands.options import EnvOptions, Verbosity
from distpg.commands.parser import parse
from distpg.errors import ConfigError


@dataclass(frozen=True)
class DoctorOptions(EnvOptions):
    """Check this machine, and an environment if one is named, before a long run.

    Exit code 1 if something fails.
    """

    env_id: str | None = None
    """Environment to check: reproducibility, speed, and the runners, tasks and iterations that suit it"""
    address: str | None = None
    """Ray cluster that must answer, and that the advice is for"""


def run(arguments: list[str]) -> int:
    """Print the findings as they come; 1 if something fails."""
    options = parse(DoctorOptions(), "distpg doctor", arguments)
    of_env = [
        one.name for one in fields(EnvOptions) if one.name not in {one.name for one in fields(Verbosity)}
    ]
    none = EnvOptions()
    if options.env_id is None and any(getattr(options, name) != getattr(none, name) for name in of_env):
        raise ConfigError(
            "options of an environment need --env-id",
            "Example: distpg doctor --env-id CartPole-v1",
        )

    from distpg.commands.doctor_checks import examine_all
    from distpg.environments.making import EnvSpec

    failed, spec = False, None
    if options.env_id is not None:
        spec = EnvSpec(
            options.env_id,
            options.env_kwargs,
            options.max_episode_steps,
            options.wrappers,
            options.env_number_kwarg,
            options.drop_observations,
            action_mask="auto",
        )
    for finding in examine_all(options.address, spec):
        failed = failed or finding.status == "fail"
        if not options.quiet or finding.status == "fail":
            print(finding, flush=True)
    return 1 if failed else 0
