"""Passwords of a lab."""

import pytest

from labkit.config import load_lab
from labkit.passwords import password
from labkit.paths import LabHome


@pytest.fixture
def lab(tmp_path):
    return load_lab(LabHome(tmp_path / "lab"))


def test_it_stays_the_same(lab):
    assert password(lab, "developer") == password(lab, "developer")
    assert password(load_lab(lab.home), "developer") == password(lab, "developer")


def test_everybody_has_another_in_every_lab(lab, tmp_path):
    other = load_lab(LabHome(tmp_path / "other"))
    made = {password(one, name) for one in (lab, other) for name in ("developer", "qa", "viewer")}
    assert len(made) == 6
    assert all(len(secret) >= 24 for secret in made)


def test_only_its_owner_reads_it(lab):
    password(lab, "developer")
    assert (lab.home.secrets / "developer").stat().st_mode & 0o777 == 0o600
    assert lab.home.secrets.stat().st_mode & 0o777 == 0o700
    assert not [file for file in lab.home.secrets.iterdir() if file.stat().st_mode & 0o077 and file.stat().st_size]


def test_a_token_is_asked_for_once(lab):
    asked = []

    def make():
        asked.append(1)
        return f"token-{len(asked)}"

    assert [password(lab, "bot", make) for _ in range(3)] == ["token-1"] * 3


def test_a_token_that_could_not_be_made_leaves_nothing(lab):
    def refuse():
        raise ConnectionError("Gitea does not answer")

    with pytest.raises(ConnectionError):
        password(lab, "bot", refuse)
    assert password(lab, "bot", lambda: "later") == "later"
