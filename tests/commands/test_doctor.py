import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from distpg.commands.cli import main
from distpg.commands.doctor_checks import examine_package

REPOSITORY = Path(__file__).parent.parent.parent


def report_on(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["doctor", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_the_machine(capsys: pytest.CaptureFixture[str], in_tmp_path: Path) -> None:
    code, lines = report_on(capsys)
    assert all(re.match(r"(ok  |warn|fail)  \S", line) for line in lines)
    assert lines[0] == f"ok    Python {platform.python_version()}"
    for package in ("numpy", "gymnasium", "torch", "ray"):
        assert any(re.match(rf"ok    {package} \d+\.\d+", line) for line in lines)
    for fact in (r"\d+ CPU", r"memory", rf"of disk free in {in_tmp_path}"):
        assert any(re.search(fact, line) for line in lines), fact
    assert code == 0


def test_a_home_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.delenv("XDG_CACHE_HOME")
    code, lines = report_on(capsys)
    assert (code, lines[-1]) == (
        0,
        "warn  no directory of yours to keep what is compiled once (XDG_CACHE_HOME names another one): "
        "every start takes seconds longer",
    )


@pytest.mark.parametrize(
    ("name", "needed", "status", "text"),
    [
        ("numpy", "", "ok", "numpy "),
        ("numpy", ">=2.0", "ok", "numpy "),
        ("numpy", ">=999.1", "fail", "distpg needs >=999.1"),
        ("no-such-package-of-ours", ">=1.0", "fail", "is not installed"),
    ],
)
def test_packages(name: str, needed: str, status: str, text: str) -> None:
    finding = examine_package(name, SpecifierSet(needed))
    assert finding.status == status
    assert text in finding.text


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Walk", 0, "ok    {} is reproducible"),
        ("SurvivesReset", 0, "warn  {} depends on state that survives reset"),
        ("SetOrder", 0, "warn  {} depends on the order of sets"),
        (
            "PythonRandom",
            0,
            "ok    {} is reproducible with Python's global random generator (module",
        ),
        (
            "NumpyRandom",
            0,
            "ok    {} is reproducible with NumPy's global random generator (numpy.ran",
        ),
        ("OnTheClock", 1, "fail  {} is not reproducible: it depends on the clock"),
        ("Unseeded", 1, "fail  {} is not reproducible: it depends on a generator that reset(seed) does not"),
        ("Unrepeatable", 1, "fail  {} is not reproducible: it depends on state of the process"),
        ("Everything", 1, ""),
    ],
)
def test_what_an_environment_depends_on_is_named(
    capsys: pytest.CaptureFixture[str], name: str, code: int, words: str
) -> None:
    env_id = f"tests.odd_environments:{name}"
    found, lines = report_on(capsys, "--env-id", env_id)
    about = [line for line in lines if env_id in line]
    if name == "Everything":
        named = ("order of sets", "Python's global", "NumPy's global", "the clock", "survives reset")
        assert len(about) == 6
        assert all(any(cause in line for line in about) for cause in named)
    else:
        assert about[0].startswith(words.format(env_id))
        assert len(about) == 2, "one cause, and the speed"
    assert re.fullmatch(rf"ok    {env_id} makes [\d,]+ steps/s, without a policy", about[-1])
    assert found == code


def test_runners_and_sizes_that_suit_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = report_on(
        capsys, "--env-id", "distpg/Sleep-v0", "--env-kwargs", '{"step_ms": 5, "mean": 3}'
    )
    assert code == 0
    assert "ok    distpg/Sleep-v0 is reproducible: a function of its seed and actions" in lines
    assert re.fullmatch(r"ok    an episode of random actions: 3\.0 steps \(3 to 3\), [\d.]+ ms", lines[-4])
    assert re.match(r"ok    it waits \(\d+ % of a CPU here\): --num-env-runners \d+ for the ", lines[-3])
    assert re.match(r"ok    --episodes-per-iteration \d+ --episodes-per-task \d+: \d+ % busy", lines[-2])


def test_an_environment_that_does_not_work(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = report_on(capsys, "--env-id", "tests.odd_environments:Fails", "--quiet")
    assert code == 1
    assert lines == [
        "fail  tests.odd_environments:Fails fails under random actions: ValueError: the simulator broke"
    ]
    code, lines = report_on(capsys, "--env-id", "CartPole-v9", "--quiet")
    assert (code, len(lines)) == (1, 1)
    assert "CartPole-v9" in lines[0]
    code, lines = report_on(capsys, "--env-id", "tests.odd_environments:EndsItsProcess", "--quiet")
    assert code == 1
    assert lines == [
        "fail  tests.odd_environments:EndsItsProcess could not be checked: "
        "it ended the process that played it: exit code 3"
    ]


def test_what_the_policy_sees_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = report_on(capsys, "--env-id", "tests.odd_environments:Large")
    assert code == 0
    (seen,) = [line for line in lines if "observations of" in line]
    assert re.fullmatch(
        r"ok    observations of 2 numbers, float32, from [-\d.]+ to 1000 in the first steps; "
        r"the policy sees them scaled by what was seen",
        seen,
    )
    _, lines = report_on(capsys, "--env-id", "Taxi-v4")
    assert any(
        "500 numbers, uint8, from 0 to 1 in the first steps; the policy sees them as" in x for x in lines
    )
    assert "ok    an action is one of 6 categories, masked by info" in lines
    assert "ok    a step takes 511 bytes: an iteration at most 0.4 MB" in lines


def test_arguments_of_an_environment_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--env-kwargs", '{"share": 1}']) == 2
    assert "need --env-id" in capsys.readouterr().err
    code, lines = report_on(
        capsys, "--env-id", "tests.odd_environments:Fails", "--env-kwargs", '{"share": 0}', "--quiet"
    )
    assert (code, lines) == (0, [])


def test_a_cluster_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        code, lines = report_on(capsys, "--address", address, "--quiet")
    assert code == 1
    (line,) = lines
    assert line.startswith(f"fail  no Ray cluster answers at {address}: Connection refused. ")


@pytest.mark.usefixtures("ray")
def test_a_cluster_that_answers() -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    result = subprocess.run(
        [sys.executable, "-m", "distpg", "doctor", "--address", address],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    cpus = int(ray.cluster_resources()["CPU"])
    assert f"ok    the Ray cluster at {address} has {cpus} CPUs" in result.stdout.splitlines(), result
    assert result.returncode == 0
