import subprocess
import sys
from pathlib import Path

ORDER = """
import sys
import distpg
from distpg.training import trainer

def seen(*args):
    print("torch" in sys.modules)
    return starting(*args)

starting, trainer.starting = trainer.starting, seen
distpg.train(distpg.TrainConfig(num_env_runners=0, max_iterations=1, run_dir=sys.argv[1]))
print("torch" in sys.modules)
"""


def test_runners_begin_to_start_before_torch_is_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORDER, str(tmp_path / "run")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "True"]
