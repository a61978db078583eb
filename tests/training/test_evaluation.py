from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

import distpg
from distpg.commands.cli import main
from distpg.config.train_config import TrainConfig
from distpg.errors import CheckpointError, ConfigError
from distpg.training.evaluation import Evaluation, evaluate


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("evaluate") / "run"
    result = distpg.train(TrainConfig(num_env_runners=0, checkpoint_every=10, run_dir=str(run)))
    assert result.solved
    return run


def test_a_solved_run_is_good(solved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(solved)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "greedy policy after 73 iterations, 100 episodes"
    mean = float(lines[1].split()[2])
    assert mean >= 475


@pytest.mark.usefixtures("ray")
def test_runners_get_the_same_returns(solved: Path, tmp_path: Path) -> None:
    for greedy in (True, False):
        here = evaluate(solved, 12, greedy)
        there = evaluate(solved, 12, greedy, num_env_runners=2, video=tmp_path / "first.gif")
        assert here.returns.tolist() == there.returns.tolist()
        assert here.lengths.tolist() == there.lengths.tolist()
        assert there.video_fault is None
    assert (tmp_path / "first.gif").exists()


def test_the_same_episodes_each_time_and_others_than_training(solved: Path) -> None:
    first, again = (evaluate(solved, 70, greedy=False) for _ in range(2))
    assert np.array_equal(first.returns, again.returns)
    # Of any number of episodes the first are the same, but for the last bit of small batches.
    assert len(evaluate(solved, 3).returns) == 3
    early = evaluate(solved, 8, greedy=False, checkpoint="0")
    training = np.loadtxt(solved / "episodes.csv", delimiter=",", skiprows=1, usecols=3)[:8]
    assert not np.array_equal(early.returns, training)


def test_checkpoints_by_name(solved: Path) -> None:
    assert evaluate(solved, 2, checkpoint="last").iterations == 73
    assert evaluate(solved, 2, checkpoint="best").iterations == 73
    assert evaluate(solved, 2, checkpoint="0").iterations == 0
    assert evaluate(solved, 2, checkpoint="000070").iterations == 70
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        evaluate(solved, 2, checkpoint="71")
    with pytest.raises(ConfigError, match="--checkpoint cannot be 'newest'"):
        evaluate(solved, 2, checkpoint="newest")


def test_interval_by_hand() -> None:
    result = Evaluation(1, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4, np.int32))
    assert result.mean == 2.5
    assert result.half_width == pytest.approx(1.96 * np.sqrt(5 / 3) / 2)
    assert np.isnan(Evaluation(1, np.ones(1), np.ones(1, np.int32)).half_width)


def test_a_loaded_policy_acts(solved: Path) -> None:
    policy = distpg.load_policy(solved)
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=123)
    total, done = 0.0, False
    while not done:
        probabilities = policy.probabilities(observation)
        assert probabilities.shape == (2,)
        assert policy.act(observation) == probabilities.argmax()
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
        total, done = total + float(reward), terminated or truncated
    assert total >= 475


def test_a_loaded_policy_names_actions_as_the_environment_does(in_tmp_path: Path) -> None:
    env = "tests.odd_environments:OffsetActions"
    distpg.train(TrainConfig(env_id=env, num_env_runners=0, max_iterations=1, run_dir="run"))
    assert distpg.load_policy("run").act(np.zeros(1)) in (5, 6, 7)


def test_video_of_the_first_episode(in_tmp_path: Path) -> None:
    env = "tests.odd_environments:Drawn"
    distpg.train(TrainConfig(env_id=env, num_env_runners=0, max_iterations=1, run_dir="run"))
    result = evaluate("run", 66, video=Path("a.gif"))
    with Image.open("a.gif") as video:
        assert video.n_frames == result.lengths[0] + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs a run directory"),
        (["missing"], "missing is not a run directory"),
        (["RUN", "--greedy", "--sampled"], "exclude each other"),
        (["RUN", "--num-episodes", "0"], "must be at least 1"),
        (["RUN", "--checkpoint", "77"], "there is no checkpoint"),
        (["RUN", "--video", "a.avi"], "--video cannot be a.avi"),
    ],
)
def test_wrong_input(
    solved: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["evaluate", *[str(solved) if word == "RUN" else word for word in arguments]]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert message in first
    assert second.startswith("hint: ")
