import os
import subprocess
import sys
from pathlib import Path

import pytest

_OTHER_POLICY = """
import numpy as np
from distpg.core.policies import PolicySpec
from distpg.kernels import gradient as kernel
from distpg.learning.compiled_beside import gradient_compiled_beside
from distpg.learning.compiled_gradient import CompiledGradient

with gradient_compiled_beside(True) as wait:
    assert wait() == 0
spec = PolicySpec(6, (3,), (70, 9), normalisation="running")
gradient, weights = CompiledGradient(spec), spec.initial_weights(0)
x = np.zeros((5, 6), np.float32)
*_, before = gradient.differentiate(weights, x, np.zeros(5, spec.action_dtype), np.zeros(5, np.float32))
gradient.divergence(before, weights, x)
for entry in (kernel.differentiate, kernel.preferences, kernel.divergence):
    assert entry.stats.cache_hits and not entry.stats.cache_misses
"""
_LEFT_EARLY = """
import subprocess
from distpg.learning import compiled_beside

class Kept(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        children.append(self)

children = []
compiled_beside.subprocess.Popen = Kept
with compiled_beside.gradient_compiled_beside(True):
    assert children[0].poll() is None
assert children[0].returncode == -9
"""


@pytest.mark.parametrize(
    "program", [_OTHER_POLICY, _LEFT_EARLY], ids=["every policy finds it", "it is ended"]
)
def test_the_gradient_is_compiled_in_another_process(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True)
