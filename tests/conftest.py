"""What all tests share: a test that needs a lab gets one of the suite's own, on free ports, and it is taken down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from _labs import lab_of_its_own
from _ports import ports_of_a_lab

from labkit.config import Lab, load_lab
from labkit.down import down
from labkit.paths import LabHome
from labkit.runner import run_notebooks

# A suite in the background of a script has Ctrl-C switched off, and so would have every command that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy with a lab may take its time for an example.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees or disturbs a lab that is running on this machine."""
    with pytest.MonkeyPatch.context() as patch, ports_of_a_lab() as first_port:
        patch.setenv("LABKIT_HOME", str(tmp_path_factory.mktemp("no-lab") / "lab"))
        patch.setenv("LABKIT_PORT_BASE", str(first_port))
        patch.setenv("LABKIT_KARGO", os.environ.get("LABKIT_KARGO") or "auto")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield


@pytest.fixture
def empty_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that does not exist yet, with ports of its own; whatever a test makes of it is purged."""
    with lab_of_its_own(tmp_path) as lab:
        yield lab


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The main job: notebooks 00 to 04, executed by papermill on a lab that did not exist.

    Returns:
        The folder of the run. The lab it made runs until the end of the session.
    """
    home = LabHome(tmp_path_factory.mktemp("main") / "lab")
    with ports_of_a_lab() as first_port:
        try:
            # Other tests must not take this lab's ports for theirs: only its making sees them in the environment.
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LABKIT_HOME", str(home.root))
                patch.setenv("LABKIT_PORT_BASE", str(first_port))
                run = run_notebooks(load_lab())
            yield run
        finally:
            down(load_lab(home), purge=True)


@pytest.fixture(scope="session")
def lab(executed: Path) -> Lab:
    """The running lab that the notebooks made."""
    return load_lab(LabHome(executed.parent.parent))
