import dataclasses
import importlib.util
import json
from pathlib import Path

import gymnasium
import pytest

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.environments.envs import close_env, make_env, origin_of
from distpg.environments.making import EnvSpec
from distpg.environments.reproducibility import Verdict, examine, examine_and_keep, known_verdict
from distpg.environments.trace import MAX_STEPS, differs, traces
from distpg.environments.verdict_cache import verdict_key

CLASSIC_CONTROL = sorted(
    env_id
    for env_id, spec in gymnasium.registry.items()
    if str(spec.entry_point).startswith("gymnasium.envs.classic_control.")
)
SLEEP = [EnvSpec("distpg/Sleep-v0", {"step_ms": 0, "length": length}) for length in ("constant", "lognormal")]
WALK = EnvSpec("tests.odd_environments:Walk")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of verdicts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/distpg/environments"


def verdict_of(spec: EnvSpec) -> Verdict:
    env = make_env(spec)
    origin = origin_of(env)
    close_env(env)
    known = known_verdict(spec, origin)
    return examine_and_keep(spec, origin) if known is None else known


def config_of(name: str, **options: object) -> TrainConfig:
    defaults = {"num_env_runners": 0, "episodes_per_iteration": 6, "max_iterations": 3}
    return TrainConfig(env_id=f"tests.odd_environments:{name}", **defaults | options)


def test_classic_control_is_found_there() -> None:
    assert {"CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"} <= set(CLASSIC_CONTROL)


@pytest.mark.parametrize("spec", [*map(EnvSpec, CLASSIC_CONTROL), *SLEEP], ids=str)
def test_what_is_not_checked_at_each_start_is_checked_here(spec: EnvSpec, cache: Path) -> None:
    assert examine(spec) == Verdict()
    assert verdict_of(spec) == Verdict()
    assert not cache.exists(), "nothing was found out, so nothing is kept"


@pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="needs gymnasium[box2d]")
def test_bipedal_walker_keeps_physics_across_resets() -> None:
    verdict = examine(EnvSpec("BipedalWalker-v3"))
    assert (verdict.causes, verdict.env_reuse) == (("reset",), "episode")
    assert verdict.why_not_reproducible("0") is None


@pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="needs gymnasium[box2d]")
@pytest.mark.usefixtures("ray")
def test_bipedal_walker_gives_equal_digests_at_any_number_of_runners(in_tmp_path: Path) -> None:
    digests = set()
    for number in (0, 1, 3):
        config = config_of("Walker", num_env_runners=number, run_dir=str(number), cpus_per_env_runner=0.05)
        result = distpg.train(config)
        assert result.reproducible
        assert json.loads((in_tmp_path / f"{number}/config.json").read_text())["env_reuse"] == "episode"
        digests.add(result.weights_digest)
    assert len(digests) == 1


@pytest.mark.usefixtures("ray")
def test_state_that_survives_reset_does_no_harm(in_tmp_path: Path) -> None:
    here = distpg.train(config_of("SurvivesReset", run_dir="here"))
    runners = distpg.train(config_of("SurvivesReset", num_env_runners=2, run_dir="runners"))
    assert here.weights_digest == runners.weights_digest
    assert here.reproducible
    assert here.not_reproducible_because is None
    for run in ("here", "runners"):
        assert json.loads((in_tmp_path / run / "config.json").read_text())["env_reuse"] == "episode"
    # Were environments reused, the weights would be others.
    reused = distpg.train(config_of("SurvivesReset", env_reuse="always", run_dir="reused"))
    assert reused.weights_digest != here.weights_digest


def test_a_run_that_cannot_be_repeated_says_so(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--num-env-runners", "0", "--max-iterations", "3", "--run-dir", "run")
    assert main(["train", "--env-id", "tests.odd_environments:OnTheClock", *options]) == 0
    why = "the environment depends on the clock (module time)"
    assert f"not reproducible: why {why}" in capsys.readouterr().out
    result = json.loads(Path("run/result.json").read_text())
    assert (result["reproducible"], result["not_reproducible_because"]) == (False, why)
    assert json.loads(Path("run/config.json").read_text())["env_reuse"] == "always"

    # A resumed run is as little reproducible, and is not checked again: nothing gets into an empty cache.
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp_path / "empty"))
    resumed = distpg.resume("run", max_iterations=5)
    assert (resumed.iterations, resumed.reproducible, resumed.not_reproducible_because) == (5, False, why)
    events = [json.loads(line) for line in Path("run/events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["not_reproducible", "run_resumed"]
    assert events[0]["why"] == why
    assert not (in_tmp_path / "empty").exists()


def test_answers_that_differ_make_a_run_unreproducible(in_tmp_path: Path) -> None:
    """Who fixes the mode is not checked at the start; the audit of each task finds out."""
    result = distpg.train(config_of("Unrepeatable", env_reuse="episode", audit_every=1, run_dir="run"))
    assert not result.reproducible
    assert result.not_reproducible_because == "episode 0 played twice gave two results"
    sound = distpg.train(config_of("SurvivesReset", env_reuse="episode", audit_every=1, run_dir="sound"))
    assert sound.reproducible


def test_replay_uses_the_mode_of_the_run(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distpg.train(config_of("SurvivesReset", run_dir="run"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp_path / "empty"))
    assert main(["replay", "run", "--episode", "13", "--quiet"]) == 0
    assert not (in_tmp_path / "empty").exists()


def test_the_order_of_sets_is_only_fixed_where_the_hash_seed_is() -> None:
    verdict = verdict_of(EnvSpec("tests.odd_environments:SetOrder"))
    assert verdict.causes == ("hash",)
    assert verdict.env_reuse == "always"
    assert verdict.why_not_reproducible("0") is None
    assert "PYTHONHASHSEED" in str(verdict.why_not_reproducible(None))


def test_an_environment_that_cannot_be_checked_is_not_reused(cache: Path) -> None:
    verdict = verdict_of(EnvSpec("tests.odd_environments:EndsItsProcess"))
    assert verdict == Verdict(("unchecked",), "it ended the process that played it: exit code 3")
    assert verdict.env_reuse == "episode"
    assert not cache.exists(), "it may be otherwise next time"


@pytest.mark.parametrize("name", ["Talks", "Fails", "OffsetActions"])
def test_what_an_environment_prints_or_raises_does_no_harm(name: str) -> None:
    assert examine(EnvSpec(f"tests.odd_environments:{name}")) == Verdict()


def test_a_verdict_is_kept(cache: Path) -> None:
    assert verdict_of(WALK) == Verdict()
    (file,) = cache.iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"causes": ["reset"]}))
    assert verdict_of(WALK) == Verdict(("reset",)), "what the file says counts"


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"causes": []}', "key", "causes"])
def test_a_damaged_cache_is_none(cache: Path, damage: str) -> None:
    verdict_of(WALK)
    (file,) = cache.iterdir()
    content = json.loads(file.read_text()) | {"causes": ["reset"]}
    if damage == "key":
        damage = json.dumps(content | {"key": content["key"] | {"numpy": "0"}})
    elif damage == "causes":
        damage = json.dumps(content | {"causes": ["spite"]})
    file.write_text(damage)
    assert verdict_of(WALK) == Verdict()
    assert json.loads(file.read_text()) == content | {"causes": []}, "it is mended"


def test_a_cache_that_cannot_be_written_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert verdict_of(WALK) == Verdict()


def test_a_verdict_holds_for_one_environment_its_arguments_and_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_environment.py"
    file.write_text(
        "import gymnasium\nfrom tests.odd_environments import Walk\n"
        "class Own(Walk):\n    def __init__(self, size=1): ...\n"
        "gymnasium.register('Own-v0', Own, max_episode_steps=9)\n"
    )

    def key(**changes: object) -> str:
        spec = dataclasses.replace(EnvSpec("own_environment:Own-v0"), **changes)
        return json.dumps(verdict_key(spec, type(make_env(spec).unwrapped)))

    before = key()
    assert key() == before
    assert len({before, key(max_episode_steps=5), key(env_kwargs={"size": 2})}) == 3
    with file.open("a") as source:
        source.write("# changed\n")
    assert key() != before


def test_a_slow_environment_gets_fewer_steps() -> None:
    played = traces(EnvSpec("tests.odd_environments:Slow"), budget_s=0.5)
    assert set(played.first) == set(played.used) == {"0", "1"}
    assert set(played.again) == {"0"}
    lengths = [
        len(digests) for plays in (played.first, played.used, played.again) for digests in plays.values()
    ]
    assert all(2 <= length < 21 for length in lengths)


def test_traces_go_to_the_end_of_an_episode_or_to_the_limit() -> None:
    played = traces(EnvSpec("tests.odd_environments:ShortOrLong"), budget_s=60)
    assert {len(digests) for digests in played.first.values()} == {3, MAX_STEPS + 1}
    assert played.first == played.used


def test_plays_of_different_lengths_are_compared_as_far_as_both_go() -> None:
    one = {"0": ["a", "b", "c"], "1": ["d"]}
    assert not differs(one, {"0": ["a", "b"], "1": ["d", "e"]})
    assert not differs(one, {"1": ["d"], "2": ["f"]})
    assert differs(one, {"0": ["a", "x"]})
    assert differs(one, {"0": ["a", "b", "c"], "1": ["x"]})
