import math
from pathlib import Path

import pytest

from distpg.system import hardware
from distpg.system.hardware import cpu_quota, time_in_queue, usable_cpus, whole_cpus


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        (
            "0::/a/b\n",
            {"cgroup.procs": "", "a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"},
            1.5,
        ),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/not/seen/here\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../beside\n", {"cpu.max": "max 100000\n"}, math.inf),
        (
            "3:memory:/m\n2:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            "1:cpu:/x\n",
            {
                "cpu/x/cpu.cfs_quota_us": "-1\n",
                "cpu/x/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "damaged\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
        ("2:cpuset:/x\n", {"cpuset/x/cpu.max": "1 2\n"}, math.inf),
        ("", {}, math.inf),
    ],
)
def test_the_quota_of_a_container(
    tmp_path: Path, membership: str, files: dict[str, str], cpus: float
) -> None:
    assert cpu_quota(membership, write(tmp_path, files)) == cpus


def test_a_quota_counts_where_it_is_less_than_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_quota", lambda *_: 0.5)
    assert (usable_cpus(), whole_cpus()) == (0.5, 1)
    assert "0.5 of " in hardware.hardware_line()
    monkeypatch.setattr(hardware, "cpu_quota", lambda *_: math.inf)
    assert usable_cpus() == whole_cpus() >= 1


def test_time_in_the_queue_only_grows() -> None:
    before = time_in_queue()
    assert 0 <= before <= time_in_queue()
