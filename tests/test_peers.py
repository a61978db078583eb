"""The comparison with other libraries; their own environments are not needed here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peer_samplers import comparison
from benchmarks.peer_samplers.serving import Lengths, weights
from benchmarks.venvs import ROOT, PeerError
from distpg.core.policies import initial_weights


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


def test_distpg_alone_is_measured_against_itself(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_text('{"other": 1}')
    command = [sys.executable, "-m", "benchmarks.peers", "--peers", "distpg", "--repetitions", "2"]
    done = subprocess.run(
        [*command, "--seconds", "0.05", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(output.read_text(), parse_constant=refuse)
    assert results["other"] == 1
    rows = {(row["policy"], row["setting"]): row for row in results["peers"]["rows"]}
    assert len(rows) == 4
    for (policy, setting), row in rows.items():
        if setting == "64 episodes a task":
            assert row["ratio_to_distpg"] == {"median": 1, "min": 1, "max": 1}
        # Most likely 500 for every episode; the other policy moves at random, which ends in about 20.
        assert 490 < row["episode_len_mean"] <= 500 if policy == "trained" else row["episode_len_mean"] < 60
    assert results["peers"]["failures"] == {}
    assert all(len(line) <= 80 for line in done.stdout.split("| steps/s")[0].splitlines())


def test_a_peer_that_fails_is_said_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def python_of(name: str) -> Path:
        if name == "rllib":
            raise PeerError("cannot be installed: no network")
        return Path(sys.executable)

    monkeypatch.setattr(comparison, "python_of", python_of)
    monkeypatch.setattr(comparison, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(comparison, "_use_one_core", lambda: None)
    compared = comparison.Comparison(["rllib", "sb3", "distpg"])
    try:
        assert list(compared.peers) == ["distpg"]
        assert compared.failures["rllib"] == "cannot be installed: no network"
        # The environment of these tests has no Stable-Baselines3.
        assert "No module named 'stable_baselines3'" in compared.failures["sb3"]
        compared.peers["distpg"]._process.kill()
        compared.play("untrained", 1, 0.01)
        assert "distpg" in compared.failures
        assert compared.rows == []
    finally:
        compared.close()


def test_lengths_go_on_from_call_to_call() -> None:
    lengths = Lengths(2)
    assert lengths(np.array([[0, 0], [1, 0], [0, 0]], bool)) == (6, [2])
    assert lengths(np.array([[0, 1], [1, 1]], bool)) == (4, [4, 3, 1])


@pytest.mark.parametrize("policy", ["untrained", "trained"])
def test_weights_have_the_shapes_of_our_own(policy: str) -> None:
    own = initial_weights((4, 128, 2), seed=0)
    assert {name: (array.shape, array.dtype) for name, array in weights(policy).items()} == {
        name: (array.shape, array.dtype) for name, array in own.items()
    }
