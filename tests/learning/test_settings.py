"""What an environment sets in this process changes nothing of the learner's bits, nor of itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from distpg.learning.settings import own_settings

SCRIPT = """
import sys
import distpg
for meddles in (False, True):
    config = distpg.TrainConfig(
        env_id="tests.odd_environments:Meddles", env_kwargs={"meddles": meddles}, env_reuse="always",
        hidden_sizes=(64,), max_iterations=4, num_env_runners=0, learner_threads=2, baseline="value",
        episodes_per_iteration=128, run_dir=sys.argv[1] + str(meddles),
    )
    print(distpg.train(config).weights_digest)
result = distpg.resume(sys.argv[1] + "True", max_iterations=5)
print(result.not_reproducible_because)
"""


def test_an_environment_that_meddles_with_torch_changes_no_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    calm, meddled, platform = result.stdout.splitlines()
    assert (meddled, platform) == (calm, "None")


def test_what_was_set_is_put_back() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_flush_denormal(True)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with torch.inference_mode(), np.errstate(over="raise"):
            with own_settings():
                assert torch.zeros(1).dtype == torch.float32
                assert torch.get_num_threads() == 1
                assert sys.float_info.min / 2 > 0
                assert not torch.is_inference_mode_enabled()
                assert np.square(np.float32(1e30)) == np.inf
            assert torch.is_inference_mode_enabled()
            assert np.geterr()["over"] == "raise"
        assert (torch.zeros(1).dtype, torch.get_num_threads()) == (torch.float64, 3)
        assert sys.float_info.min / 2 == 0
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
