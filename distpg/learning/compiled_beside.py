"""At a first start: another process compiles the gradient while this one compiles the sampler."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np

from distpg.core.policies import PolicySpec
from distpg.kernels.compile_cache import compile_cache
from distpg.learning.compiled_gradient import CompiledGradient
from distpg.system.hardware import whole_cpus
from distpg.system.interrupts import kept_from_children

_PROGRAM = """\
import sys
sys.path[:] = sys.argv[1:]
from distpg.learning.compiled_beside import compile_gradient
compile_gradient()
"""


@contextlib.contextmanager
def gradient_compiled_beside(is_wanted: bool) -> Iterator[Callable[[], object]]:
    """What is yielded waits for it; it is then in the cache, where it was not compiled here.

    Nothing is done where it is not wanted, or where there is one CPU or no cache.
    """
    if not is_wanted or whole_cpus() < 2 or compile_cache() is None:
        yield lambda: None
        return
    with kept_from_children():
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield child.wait
    finally:
        child.kill()
        child.wait()


def compile_gradient() -> None:
    """Of any policy: the arrays of all have the same types."""
    spec = PolicySpec(1, (2,), (1,))
    gradient, weights = CompiledGradient(spec), spec.initial_weights(0)
    observations, actions = np.zeros((1, 1), np.float32), np.zeros(1, spec.action_dtype)
    *_, before = gradient.differentiate(weights, observations, actions, np.zeros(1, np.float32))
    gradient.divergence(before, weights, observations)
