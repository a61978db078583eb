"""The comparison with other libraries; their own environments are not needed here."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peer_tables
from benchmarks.peer_samplers import comparison, process
from benchmarks.peer_samplers.comparison import NAMES
from benchmarks.peer_samplers.serving import GAMMA, Lengths, discounted_returns, weights
from benchmarks.peer_tables import POLICIES
from benchmarks.venvs import ROOT, PeerError
from distpg.core.policies import initial_weights


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


def test_distpg_is_measured_against_itself_and_arithmetic(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_text('{"other": 1}')
    command = [sys.executable, "-m", "benchmarks.peers", "--peers", "sgemm", "distpg", "--repetitions", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.02", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(output.read_text(), parse_constant=refuse)
    assert results["other"] == 1
    peers = results["peers"]
    rows = {
        (row["cores"], row["policy"], row["peer"], row["sampler"]): row
        for row in peers["rows"]
        if row["processes"] * row["threads"] == (1 if row["cores"] == "one" else peers["machine"]["cores"])
    }
    samplers = [("distpg", name) for name in ("compiled", "64 episodes a task", "1 episode a task")]
    assert [key[2:] for key in rows] == 4 * [*samplers, ("sgemm", "")]
    same = {"median": 1, "min": 1, "max": 1}
    for (_, policy, peer, sampler), row in rows.items():
        if peer == "distpg":
            assert row["ratio_to_distpg"].get(sampler, same) == same
            # Most likely 500 for every episode; the other policy moves at random: about 20.
            assert (
                490 < row["episode_len_mean"] <= 500 if policy == "trained" else row["episode_len_mean"] < 60
            )
        else:
            assert row["episode_len_mean"] is None
            assert row["ratio_to_distpg"]["64 episodes a task"]["min"] > 1
    assert peers["failures"] == {}
    terminal, _, readme = done.stdout.partition("\n\n| steps/s on one core")
    assert all(len(line) <= 80 for line in terminal.splitlines())
    assert len(re.findall(r"^distpg's compiled sampler reaches \d+% of", terminal, re.MULTILINE)) == 4
    assert readme.count("\n| distpg ") == 6


def test_a_peer_that_fails_is_said_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def python_of(name: str) -> Path:
        if name == "rllib":
            raise PeerError("cannot be installed: no network")
        return Path(sys.executable)

    monkeypatch.setattr(comparison, "python_of", python_of)
    monkeypatch.setattr(process, "ENVIRONMENTS", tmp_path)
    compared = comparison.Comparison(["rllib", "sb3", "distpg"])
    try:
        assert compared.peers == ["distpg"]
        assert compared.failures["rllib"] == "cannot be installed: no network"
        # The environment of these tests has no Stable-Baselines3.
        assert "No module named 'stable_baselines3'" in compared.failures["sb3"]
        compared.processes("distpg", "one")[0]._process.kill()
        compared.play("untrained", "one", 1, 0.01)
        assert "distpg" in compared.failures
        assert compared.rows == []
        assert compared.peers == []
    finally:
        compared.close()


def test_tables_have_room_for_all_and_say_who_is_faster() -> None:
    settings = {"torchrl": "1024 envs SyncVectorEnv", "gymnax": "16384 envs together", "sgemm": "NumPy"}
    ratios = {"distpg": 1.0, "gymnax": 1.5, "sgemm": 16.0}
    rows: list[dict[str, Any]] = []
    for cores, policy, peer in itertools.product(("one", "all"), POLICIES, NAMES):
        ratio = ratios.get(peer, 0.0025)
        rates = dict.fromkeys(("median", "min", "max"), ratio * 1e7)
        rows.append(
            {
                "cores": cores,
                "policy": policy,
                "peer": peer,
                "sampler": "compiled" if peer == "distpg" else "",
                "setting": settings.get(peer, "compiled, 2048 episodes"),
                "processes": 1,
                "threads": 1 if cores == "one" else 64,
                "env_steps_per_s": rates,
                "ratio_to_distpg": {
                    "compiled": {"median": ratio},
                    "64 episodes a task": {"median": ratio * 100},
                },
                "episode_len_mean": 21.0,
                "cpu_share_min": 0.5,
            }
        )
    versions = {name: {peer_tables.PACKAGES[name]: "1.2.3"} for name in NAMES}
    machine = {"cpu": "a processor", "cores": 64}
    result = {
        "machine": machine,
        "rows": rows,
        "versions": versions,
        "failures": {"rllib": "it is not there"},
    }
    lines = peer_tables.table(result).splitlines()
    assert max(map(len, lines)) <= 80
    # Nothing runs into its neighbour: name, setting, rate, from, to, two ratios.
    torchrl = "TorchRL   1024 envs SyncVectorEnv   25.0k 25.0k to 25.0k 0.0025  0.25"
    assert [line for line in lines if line.startswith("TorchRL")] == 2 * [f"{torchrl}         21"] + 2 * [
        f"{torchrl} 64 threads"
    ]
    assert sum("   160M   160M to 160M     16  1600" in line for line in lines) == 4
    assert lines.count("distpg's compiled sampler reaches 6% of sgemm / 1,536.") == 4
    assert "RLlib is left out: it is not there" in lines
    assert "A round got only 50% of the core. Rates are over its own part of the time." in lines
    readme = peer_tables.for_readme(result).splitlines()
    faster = "gymnax (untrained policy, 1.50 times), gymnax (trained policy, 1.50 times)."
    assert f"Faster than distpg compiled on one core: {faster}" in readme
    cell = "10.0M (1.00; 100), 2048 episodes, 64 threads"
    assert f"| distpg 1.2.3, compiled | {cell} | {cell} |" in readme


def test_lengths_go_on_from_call_to_call() -> None:
    lengths = Lengths(2)
    assert lengths(np.array([[0, 0], [1, 0], [0, 0]], bool)) == (6, [2])
    assert lengths(np.array([[0, 1], [1, 1]], bool)) == (4, [4, 3, 1])


def test_steps_that_only_reset_are_none() -> None:
    lengths = Lengths(2, resets_take_a_step=True)
    assert lengths(np.array([[0, 0], [1, 0], [0, 0]], bool)) == (5, [2])
    assert lengths(np.array([[0, 1], [1, 0], [0, 0]], bool)) == (4, [4, 2])


def test_returns_stop_where_an_episode_ends() -> None:
    rewards = np.array([[1, 1], [2, 0], [4, 1], [8, 1]], np.float32)
    ended = np.array([[0, 1], [1, 0], [0, 0], [0, 0]], bool)
    returns = discounted_returns(rewards, ended)
    assert returns.dtype == np.float32
    assert returns[:, 0] == pytest.approx([1 + 2 * GAMMA, 2, 4 + 8 * GAMMA, 8])
    assert returns[:, 1] == pytest.approx([1, GAMMA + GAMMA**2, 1 + GAMMA, 1])


@pytest.mark.parametrize("policy", ["untrained", "trained"])
def test_weights_have_the_shapes_of_our_own(policy: str) -> None:
    own = initial_weights((4, 128, 2), seed=0)
    assert {name: (array.shape, array.dtype) for name, array in weights(policy).items()} == {
        name: (array.shape, array.dtype) for name, array in own.items()
    }
