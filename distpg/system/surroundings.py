"""What foreign code can change in this process, kept apart: environments have their world, distpg its own."""

import contextlib
import locale
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

# What an operating system, a library or a limit may refuse to put back; it stays as it is then.
_REFUSALS = (OSError, RuntimeError, RecursionError, ValueError, TypeError, locale.Error)


def _working_directory() -> str | None:
    """None where it has been removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - this is done twice an iteration
    except OSError:
        return None


def _torch_settings() -> tuple[int, Any] | None:
    """Threads and default dtype; None where nobody has loaded torch."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):  # only begun to be loaded
        return None
    return torch.get_num_threads(), torch.get_default_dtype()


def _umask() -> int:
    umask = os.umask(0o077)  # the only way to read it
    os.umask(umask)
    return umask


@dataclass(frozen=True)
class _State:
    """The settings of a process at a moment."""

    directory: str | None = field(default_factory=_working_directory)
    # The bytes behind os.environ, a hundred times as fast to copy.
    variables: dict[Any, Any] = field(default_factory=lambda: dict(getattr(os.environ, "_data", {})))
    umask: int = field(default_factory=_umask)
    filters: list[Any] = field(default_factory=lambda: list(warnings.filters))
    numpy_errors: Any = field(default_factory=np.geterr)
    torch: tuple[int, Any] | None = field(default_factory=_torch_settings)
    locale: str = field(default_factory=lambda: locale.setlocale(locale.LC_ALL))
    recursion_limit: int = field(default_factory=sys.getrecursionlimit)

    def put_in_place(self, now: "_State") -> None:
        """Make it so again where it is ``now`` otherwise, each setting as far as that can be had."""
        if now.directory != self.directory and self.directory is not None:
            with contextlib.suppress(*_REFUSALS):
                os.chdir(self.directory)
        if now.variables != self.variables:
            self._put_variables(now)
        if now.umask != self.umask:
            os.umask(self.umask)
        if now.filters != self.filters:
            with warnings.catch_warnings():  # leaving it makes Python forget what it knew of filters
                pass
            warnings.filters[:] = self.filters  # type: ignore[index]
        if now.numpy_errors != self.numpy_errors:
            np.seterr(**self.numpy_errors)
        if now.torch != self.torch and self.torch is not None:
            torch: Any = sys.modules["torch"]
            with contextlib.suppress(*_REFUSALS):
                torch.set_num_threads(self.torch[0])
                torch.set_default_dtype(self.torch[1])
        with contextlib.suppress(*_REFUSALS):
            if now.locale != self.locale:
                locale.setlocale(locale.LC_ALL, self.locale)
            if now.recursion_limit != self.recursion_limit:
                sys.setrecursionlimit(self.recursion_limit)

    def _put_variables(self, now: "_State") -> None:
        environ: Any = os.environ
        for key in now.variables.keys() | self.variables.keys():
            name, value = environ.decodekey(key), self.variables.get(key)
            if value is None:
                environ.pop(name, None)
            elif now.variables.get(key) != value:
                environ[name] = environ.decodevalue(value)

    def changed_from(self, ours: "_State") -> dict[str, Any]:
        """What is otherwise than in ours, of the variables those that are; None for one that is gone."""
        changes = {name: value for name, value in vars(self).items() if value != getattr(ours, name)}
        if "variables" in changes:
            changes["variables"] = {
                key: self.variables.get(key)
                for key in ours.variables.keys() | self.variables.keys()
                if self.variables.get(key) != ours.variables.get(key)
            }
        return changes

    def changed_by(self, changes: dict[str, Any]) -> "_State":
        """This with the changes of :meth:`changed_from`."""
        merged = {**self.variables, **changes.get("variables", {})}
        variables = {key: value for key, value in merged.items() if value is not None}
        return replace(self, **{**changes, "variables": variables})


_changes: dict[str, Any] = {}
"""What environments had changed when they were last at work. All else is as it is with us now."""
_is_theirs = False


@contextlib.contextmanager
def theirs() -> Iterator[None]:
    """Run what environments do: with the settings of the process that they made last time, and ours after it.

    Kept apart are the working directory, environment variables, umask, filters of warnings, NumPy's error
    state, the locale, the recursion limit, and torch's threads and default dtype. Within another one it does
    nothing.
    """
    global _changes, _is_theirs
    if _is_theirs:
        yield
        return
    ours = _State()
    if _changes:
        ours.changed_by(_changes).put_in_place(ours)
    _is_theirs = True
    try:
        yield
    finally:
        _is_theirs = False
        now = _State()
        _changes = now.changed_from(ours)
        if _changes:
            ours.put_in_place(now)
