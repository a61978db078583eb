"""The files of cluster/, as far as they can be checked without a cluster and without a network."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from distpg.commands.parser import parse
from distpg.commands.train import TrainOptions
from distpg.system.version import __version__

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = ROOT / "cluster"
LAUNCHER_FILES = ("cpu.yaml", "local.yaml")
# Comments may show what is not to be done, or what a user may do.
TEXTS = {
    path.name: re.sub(r"(^|\s)#.*", "", path.read_text(encoding="utf-8"))
    for path in sorted(CLUSTER.iterdir())
    if path.is_file()
}


def load(name):
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def kuberay(kind):
    (found,) = [each for each in yaml.safe_load_all(TEXTS["kuberay.yaml"]) if each["kind"] == kind]
    return found


def pods():
    spec = kuberay("RayCluster")["spec"]
    return [group["template"]["spec"] for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]]


def pinned():
    """Version by name, of every line of constraints.txt; a name may have several, for several Pythons."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (exactly,) = requirement.specifier
            assert exactly.operator == "=="
            found.setdefault(requirement.name, set()).add(exactly.version)
    return found


def start_commands(name):
    config = load(name)
    return config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]


def test_no_file_is_left_out():
    assert set(TEXTS) == {
        *LAUNCHER_FILES,
        "kuberay.yaml",
        "Dockerfile",
        "setup-node",
        "environment.sh",
        "close_ssh.py",
    }


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_rays_launcher_accepts(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(load(name))
    validate_config(prepared)
    assert prepared["cluster_name"] == "distpg"
    misspelt = {**load(name), "idle_timeout_minuets": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        validate_config(prepare_config(misspelt))


def test_aws_has_a_head_on_demand_and_spot_workers_from_none():
    from ray.autoscaler._private.util import prepare_config

    config = prepare_config(load("cpu.yaml"))
    types = config["available_node_types"]
    head, worker = (types[kind]["node_config"] for kind in ("head", "worker"))
    assert config["head_node_type"] == "head"
    assert "InstanceMarketOptions" not in head
    assert worker["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["worker"]["min_workers"] == 0
    assert types["worker"]["max_workers"] == config["max_workers"] > 0
    assert 0 < config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False
    assert head["InstanceType"].split(".")[0] == worker["InstanceType"].split(".")[0]
    assert head["ImageId"] == worker["ImageId"]
    assert re.fullmatch("ami-[0-9a-f]{17}", head["ImageId"])


def test_own_machines_go_without_the_second_autoscaler():
    head, _ = start_commands("local.yaml")
    words = shlex.split(head)
    assert words.index("RAY_enable_autoscaler_v2=0") < words.index("start")


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_every_node_gets_distpg_and_the_token(name):
    config = load(name)
    (copy,) = [there for there, here in config["file_mounts"].items() if here == "."]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["setup_commands"] == [f"{copy}/cluster/setup-node"]
    for pattern in ("**/.venv", "**/.git"):
        assert pattern in config["rsync_exclude"]
    assert ".gitignore" in config["rsync_filter"]


def test_nodes_install_what_the_constraints_say():
    setup = TEXTS["setup-node"]
    assert '--constraint "$root/constraints.txt" "ray[default]" boto3 --editable "$root"' in setup
    # Everything that ray[default] and boto3 bring has its version: not one package is chosen on the day.
    for name in ("ray", "torch", "boto3", "aiohttp", "grpcio", "opentelemetry-sdk", "pydantic"):
        assert name in pinned()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_versions_are_those_of_the_constraints(name):
    versions = pinned()
    for package, version in re.findall(r"\b([A-Za-z][\w-]*)(?:\[\w+\])?==([\w.]+)", TEXTS[name]):
        assert version in versions[package]


def test_dockerfile_pins_all_it_takes():
    text = TEXTS["Dockerfile"]
    assert re.search(r"^FROM python:3\.1[0-3]\.\d+-slim-\w+$", text, re.MULTILINE)
    assert "ray[default]==" in text
    assert re.search(r"--constraint constraints\.txt \S+ \.$", text, re.MULTILINE)
    for copied in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for path in copied.split():
            assert (ROOT / path).exists()


def test_images_are_named_by_version():
    assert {pod["containers"][0]["image"] for pod in pods()} == {f"distpg:{__version__}"}
    comments = (CLUSTER / "Dockerfile").read_text() + (CLUSTER / "kuberay.yaml").read_text()
    assert set(re.findall(r"distpg:(\d[\w.]*)", comments)) == {__version__}


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_kuberay_accepts(kind):
    schema = yaml.safe_load((ROOT / "tests/kuberay_schema.yaml").read_text(encoding="utf-8"))[kind]
    resource = kuberay(kind)
    jsonschema.Draft7Validator(schema).validate(resource)
    assert resource["apiVersion"] == "ray.io/v1"
    resource["spec"]["worker"] = {}
    assert not jsonschema.Draft7Validator(schema).is_valid(resource)


def test_kuberay_demands_a_token_and_asks_for_resources():
    cluster = kuberay("RayCluster")
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert {cluster["spec"]["rayVersion"]} == pinned()["ray"]
    for pod in pods():
        (container,) = pod["containers"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_kuberay_trains_on_its_cluster_and_keeps_the_run():
    job = kuberay("RayJob")["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": kuberay("RayCluster")["metadata"]["name"]}
    words = shlex.split(job["entrypoint"])
    assert words[:4] == ["distpg", "train", "--address", "auto"]
    run = Path(words[words.index("--run-dir") + 1])
    head = pods()[0]
    (mount,) = head["containers"][0]["volumeMounts"]
    (volume,) = head["volumes"]
    assert Path(mount["mountPath"]) in run.parents
    assert mount["name"] == volume["name"]
    claim = kuberay("PersistentVolumeClaim")["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim


def test_kuberays_job_is_a_command_that_distpg_takes():
    words = shlex.split(kuberay("RayJob")["spec"]["entrypoint"])
    options = parse(TrainOptions(), "distpg train", words[2:])
    assert options.training.address == "auto"
    assert options.training.num_env_runners > 0


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_dashboards_are_on_loopback(name):
    head, worker = start_commands(name)
    assert "--dashboard-host=127.0.0.1" in shlex.split(head)
    assert "dashboard-host" not in worker


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_nothing_is_opened_to_the_world(name):
    assert "0.0.0.0" not in TEXTS[name]
    assert "IpPermissions" not in TEXTS[name]
    assert "::/0" not in TEXTS[name]


def test_ssh_is_closed_to_the_world_on_aws():
    (command,) = load("cpu.yaml")["head_setup_commands"]
    assert command.endswith("cluster/close_ssh.py")


def test_login_shells_have_what_ray_needs():
    shown = subprocess.run(
        ["bash", "-c", f"source {shlex.quote(str(CLUSTER / 'environment.sh'))}; env"],
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert f"PATH={ROOT}/.venv/bin:/usr/bin:/bin" in shown
    assert "RAY_AUTH_MODE=token" in shown
    assert "RAY_grpc_client_keepalive_time_ms=5000" in shown
    assert "RAY_grpc_client_keepalive_timeout_ms=5000" in shown


def test_pods_notice_silent_hosts_as_soon():
    names = ["RAY_grpc_client_keepalive_time_ms", "RAY_grpc_client_keepalive_timeout_ms"]
    for pod in pods():
        assert pod["containers"][0]["env"] == [{"name": name, "value": "5000"} for name in names]


@pytest.mark.parametrize("profile", [".profile", ".bash_profile", ".bash_login", None])
def test_every_login_shell_finds_the_environment_once(profile, tmp_path):
    """Whatever files it reads; ~/.bashrc is like Ubuntu's, which ends where no human types."""
    home, root = tmp_path / "home", tmp_path / "copy"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray/auth_token").write_text("secret")
    (home / ".bashrc").write_text("case $- in *i*) ;; *) return ;; esac\n# no line end")
    if profile is not None:
        (home / profile).touch()
    (root / "cluster").mkdir(parents=True)
    (root / ".venv").mkdir()
    for name in ("cluster/setup-node", "cluster/environment.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    # As after the first time, so that nothing is installed.
    wanted = "".join((root / name).read_text() for name in ("pyproject.toml", "constraints.txt"))
    (root / ".venv/.setup-node").write_text(wanted + (root / "cluster/setup-node").read_text())
    variables = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run([root / "cluster/setup-node"], env=variables, check=True)
    assert (home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    assert (home / ".bashrc").read_text().count("environment.sh") == 1
    show = 'echo "$PATH $RAY_AUTH_MODE"'
    for options in (["--login", "-i", "-c"], ["--login", "-c"], ["-i", "-c"]):
        # In a session of its own, since an interactive shell would take hold of the terminal.
        shell = subprocess.run(
            ["bash", *options, show], env=variables, capture_output=True, text=True, start_new_session=True
        )
        path, mode = shell.stdout.split()
        assert path.startswith(f"{root}/.venv/bin:"), options
        assert path.count(".venv/bin") == 1, options
        assert mode == "token", options
    if profile in (".profile", None):  # which other shells read too
        plain = subprocess.run(["sh", "-c", ". ~/.profile"], env=variables, capture_output=True, text=True)
        assert (plain.returncode, plain.stderr) == (0, "")


def commands(text):
    """Those of ray and distpg in a document's blocks, and those that they run on the head."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            for words in split(line):
                if words[:2] == ["ray", "exec"]:
                    yield from split(words[-1])
                if words[:3] == ["ray", "job", "submit"] and "--" in words:
                    yield words[words.index("--") + 1 :]
                yield words


def split(line):
    """A command line of ray or distpg in words, as a list of one; of other lines: none."""
    line = re.sub(r"^([A-Z_]+=\S+ )+", "", line)
    if not line.startswith(("ray ", "distpg ")):
        return []
    return [[re.sub(r"^~/", "/home/ubuntu/", word) for word in shlex.split(line, comments=True)]]


@pytest.mark.parametrize("name", ["README.md", "docs/cluster.md"])
def test_documented_commands_are_those_of_ray_and_distpg(name):
    from ray.scripts.scripts import cli

    found = list(commands((ROOT / name).read_text(encoding="utf-8")))
    assert any(words[:3] == ["ray", "job", "submit"] for words in found)
    for program, *words in found:
        if program == "ray":
            command = cli
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context("ray", words)
        elif words[0] == "train" and "--address" in words and "..." not in words:
            assert parse(TrainOptions(), "distpg train", words[1:]).training.address == "auto"


def test_two_clusters_in_one_account_need_two_names():
    text = (CLUSTER / "cpu.yaml").read_text(encoding="utf-8")
    first, edited, _ = re.split(r"^# -{20,}.*$", text, flags=re.MULTILINE)
    assert "cluster_name:" in edited
    assert yaml.safe_load(first) is None


def test_kuberays_probes_find_wget():
    assert re.search(r"apt-get install .*\bwget\b", TEXTS["Dockerfile"])
