"""Code that a configuration names as ``module:function``."""

import functools
import importlib
import sys
import types
from typing import Any

# Their functions were not written to be named, and some of them run or unpickle what they are told to.
_LIBRARIES = {
    *("cloudpickle", "dill", "joblib", "matplotlib", "numba", "numpy"),
    *("pandas", "ray", "scipy", "sklearn", "torch"),
}


def named(name: str, kind: type[Any]) -> Any:
    """The class or function ``module:function``.

    A file that somebody else wrote may name anything. Functions of the standard library and of large
    libraries are refused, wherever they are imported: none of them runs a command or reads a pickle so.

    Args:
        kind: Subclasses of it are always taken.

    Raises:
        ImportError, AttributeError: There is none.
        TypeError: It is none that a configuration may name.
    """
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, type) and issubclass(found, kind):
        return found
    inner = found
    while isinstance(inner, functools.partial):
        inner = inner.func
    homes = {module, str(getattr(inner, "__module__", None) or type(inner).__module__)}
    if isinstance(inner, types.MethodType | types.BuiltinFunctionType):
        homes.add(type(inner.__self__).__module__)
    if any(home.split(".")[0] in _LIBRARIES | sys.stdlib_module_names for home in homes):
        raise TypeError(f"{name} is a function of a library, and was not made to be named here")
    return found
