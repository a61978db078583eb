"""The ``distpg`` command: usage, exit codes, and a module a command, imported only when it is asked for."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from distpg.commands.display import as_typed, one_line
from distpg.errors import ConfigError, DistpgError, in_words, shortened
from distpg.system.garbage import this_process_is_a_command
from distpg.system.interrupts import Interrupts
from distpg.system.version import __version__

USAGE = """\
usage: distpg COMMAND [OPTION ...]

commands:
  train         train a policy; with no option: CartPole-v1, until solved
  resume RUN    go on with a run from its last checkpoint
  evaluate RUN  play episodes with a run's policy
  replay RUN    play an episode of a run again: --episode K
  plot RUN...   draw the learning curve and variance of one or more runs
  benchmark     measure how many episodes a second runners play: --num-env-runners 1 2 4
  doctor        check this machine, and whether an environment is reproducible: --env-id ID

distpg COMMAND --help lists its options with their defaults; --version prints the version.
"""
# Each is a module of this wing with run(arguments) -> exit code.
_COMMANDS = ("train", "resume", "evaluate", "replay", "plot", "benchmark", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 1 (failed), 2 (wrong input) or 130 (interrupted)."""
    if arguments is None:
        this_process_is_a_command()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # So that --env-id module:EnvId finds a module of the working directory; last, so that it hides no other.
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        # From the first moment on: imports alone take a second, and SIGTERM would end the process silently.
        with Interrupts():
            return _run(arguments)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. That is not worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DistpgError as error:
        if "--debug" in arguments:
            raise
        _report(as_typed(error.message, here), as_typed(error.hint, here))
        return error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            raise
        _report(in_words(error), "This is a defect of distpg; --debug shows where it is.")
        return 1
    except KeyboardInterrupt as error:
        # If it came while code was run from a string (dataclasses do that), CPython remembers it, and would
        # end the process by SIGINT instead of with our exit code. Running any other string makes it forget.
        exec("")
        _report("interrupted", _after_interruption(arguments, next(iter(error.args), None)))
        return 130


def _after_interruption(arguments: Sequence[str], run: str | None) -> str:
    if run is not None:
        return f"Everything up to the last completed update is kept. Go on: distpg resume {shlex.quote(run)}"
    if arguments[:1] == ["benchmark"]:
        return "Nothing of a benchmark is kept."
    return "No training had begun, so nothing is lost."


def _report(message: str, hint: str) -> None:
    print(f"error: {shortened(one_line(message))}\nhint: {shortened(one_line(hint))}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(USAGE, end="", file=sys.stderr)
        return 2
    command = arguments[0]
    if command in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if command == "--version":
        print(f"distpg {__version__}")
        return 0
    if command not in _COMMANDS:
        close = get_close_matches(command, _COMMANDS, n=1)
        hint = f"Did you mean distpg {close[0]}?" if close else "distpg --help lists the commands."
        raise ConfigError(f"there is no command {command!r}", hint)
    module = importlib.import_module(f"distpg.commands.{command}")
    code: int = module.run(arguments[1:])
    return code
