"""Deleting a lab as an ordinary user, whom rights hold back."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from labkit import down

NOBODY = 65534


@pytest.fixture
def folder():
    """A lab's folder that everybody may enter, unlike a test's own."""
    place = Path(tempfile.mkdtemp(prefix="labkit-"))
    place.chmod(0o777)
    yield place / "lab"
    shutil.rmtree(place)


def _as_an_ordinary_user(action):
    """Run an action in a process that is not root's; gives its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_service_hid_from_its_owner_is_deleted_too(folder):
    def make_and_delete():
        outside = folder.with_name("outside")
        outside.mkdir(mode=0o500)
        for mode in (0o300, 0o500, 0o000):
            hidden = folder / f"services/repo-server-{mode}/tmp/_argocd-repo"
            (hidden / "clone").mkdir(parents=True)
            (hidden / "clone" / "file").touch()
            (hidden / "link").symlink_to(outside)
            hidden.chmod(mode)
        down._delete(folder)

    assert _as_an_ordinary_user(make_and_delete) == 0
    assert not folder.exists()
    assert folder.with_name("outside").stat().st_mode & 0o777 == 0o500, "a link was followed"
