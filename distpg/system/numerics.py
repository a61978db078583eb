"""Environment variables that make floating-point results independent of memory and CPU model.

Math libraries choose kernels by CPU features, by memory alignment and by thread count, and the choices
differ in the last bit. Each variable below pins one such choice. They only work when they are set before
the library first computes, so ``import distpg`` sets those that are not set, and runners are started with
all of them.
"""

import os
import platform
import sys
from importlib import metadata


def numerics_environment() -> dict[str, str]:
    """Variables that pin math libraries to one thread and, on x86-64, to their AVX2 kernels."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return threads
    above_avx2 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
    # NumPy 2.4 renamed its dispatch targets, and warns about a name that it does not know.
    if [int(part) for part in metadata.version("numpy").split(".")[:2]] >= [2, 4]:
        above_avx2 = "X86_V4 AVX512_ICL AVX512_SPR"
    return threads | {
        "MKL_CBWR": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": above_avx2,
    }


def runner_environment() -> dict[str, str]:
    """What every runner has in its environment: an environment may go through a set of strings as well."""
    return numerics_environment() | {"PYTHONHASHSEED": "0"}


_late = False


def pin_numerics() -> None:
    """Set each variable of :func:`numerics_environment` that the user has not set."""
    global _late
    wanted = numerics_environment()
    loaded = "numpy" in sys.modules or "torch" in sys.modules
    _late = loaded and any(os.environ.get(name) != value for name, value in wanted.items())
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def was_pinned_late() -> bool:
    """Whether NumPy or torch had been loaded already, so that this process may compute other bits."""
    return _late
