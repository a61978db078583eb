"""Who may read Ray's token, and which one a cluster of our own demands."""

from pathlib import Path

import pytest

from distpg.on_ray.tokens import advice_on_file, variables_for_own_cluster


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_new_token_each_time() -> None:
    one, other = variables_for_own_cluster(), variables_for_own_cluster()
    assert one["RAY_AUTH_MODE"] == "token"
    assert len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, {}),
        ({"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_MODE": "token"}),
        ({"RAY_AUTH_TOKEN_PATH": "/mine"}, {"RAY_AUTH_MODE": "token"}),
    ],
)
def test_what_the_user_says_counts(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], wanted: dict[str, str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert variables_for_own_cluster() == wanted


def test_a_file_that_others_may_read_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / ".ray/auth_token"
    assert advice_on_file() == []
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert advice_on_file() == []
    path.parent.mkdir()
    path.write_text("secret")
    path.chmod(0o644)
    (advice,) = advice_on_file()
    assert advice.why == f"{path} can be read by other users of this machine (mode 0644)"
    assert advice.hint.endswith(f"chmod 600 {path}")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    assert advice_on_file() == [], "the file is not used"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    path.chmod(0o600)
    assert advice_on_file() == []
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "there"))
    (tmp_path / "there").touch(0o640)
    assert "there can be read by" in advice_on_file()[0].why
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("~nobody at all").expanduser())
    assert advice_on_file() == [], "a user without a home"
