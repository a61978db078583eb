"""What a runner that wants to join says of itself."""

import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from distpg.sampling.fingerprint import fingerprint
from distpg.sampling.runner_spec import EnvRunnerSpec
from distpg.system.numerics import runner_environment
from distpg.system.version import __version__


class Introduction(NamedTuple):
    """What a runner is judged by.

    Attributes:
        variables: Of its process, those that every runner should have.
        numerics: Digest of its arithmetic, and environment: of what its environment played in its trial.
        seconds: That the trial took.
    """

    distpg: str
    variables: Mapping[str, str | None]
    numerics: str
    environment: str
    seconds: float


def introduce(spec: EnvRunnerSpec, on_step: Callable[[], None]) -> Introduction:
    """This process, after a trial; raises EnvironmentIdError where the environment cannot be made."""
    began = time.monotonic()
    found = fingerprint(spec, on_step)
    variables = {name: os.environ.get(name) for name in runner_environment()}
    return Introduction(__version__, variables, *found, time.monotonic() - began)
