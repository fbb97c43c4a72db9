"""What all tests share: a test that needs a lab gets one of the suite's own, on free ports, and it is taken down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _labs import lab_of_its_own
from _ports import ports_of_a_lab
from xdist.scheduler import LoadFileScheduling

from labkit.config import Lab, load_lab
from labkit.down import down
from labkit.paths import LabHome
from labkit.runner import run_notebooks

# A suite in the background of a script has Ctrl-C switched off, and so would have every command that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy with a lab may take its time for an example.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")


# What shares a lab shares a worker: the tests of a module, and the modules that use the lab that the notebooks made.
_MAIN = "the notebooks' lab"
_MAIN_MODULES = frozenset(
    {
        "test_alerts",
        "test_argocd_rights",
        "test_command_line",
        "test_dashboards_live",
        "test_git_rights",
        "test_kargo_pages",
        "test_lab_facts",
        "test_main_job",
        "test_pipeline_board",
        "test_report",
        "test_unverified_freight",
        "test_with_a_browser",
    }
)
# Those that take minutes come first, so that no worker is left alone with one at the end.
_LONGEST_FIRST = ("test_gates", _MAIN, "test_promotion_rules", "test_lab_life", "test_replay", "test_pod_runner")


def _group(module: str) -> str:
    return _MAIN if module in _MAIN_MODULES else module


class _Groups(LoadFileScheduling):
    """`pytest --numprocesses 2 --dist loadfile`, but with groups in the place of files."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(Path(nodeid.partition("::")[0]).stem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give a group to one worker, whole."""
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the groups into order."""
    order = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    groups = list(dict.fromkeys(_group(item.path.stem) for item in items))
    groups.sort(key=lambda name: order.get(name, len(order)))
    items.sort(key=lambda item: groups.index(_group(item.path.stem)))
    for item in items:
        uses = "executed" in getattr(item, "fixturenames", ())
        assert not uses or item.path.stem in _MAIN_MODULES, f"{item.path.stem} belongs into _MAIN_MODULES"


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The notebooks' lab goes with its last test: the rest of the session does not have to run beside it."""
    if _group(item.path.stem) == _MAIN and (nextitem is None or _group(nextitem.path.stem) != _MAIN):
        _no_longer_needed()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """After Ctrl-C the workers end without taking their labs down: whose folder is left is taken down here."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and not hasattr(session.config, "workerinput"):
        temporary = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        for settings in (*temporary.glob("*/lab/lab.yaml"), *temporary.glob("popen-*/*/lab/lab.yaml")):
            down(load_lab(LabHome(settings.parent)), purge=True)


_main_labs: list[Lab] = []


def _no_longer_needed() -> None:
    while _main_labs:
        down(_main_labs.pop(), purge=True)


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
        The folder of the run. The lab it made runs until the last test that has asked for it.
    """
    home = LabHome(tmp_path_factory.mktemp("main") / "lab")
    with ports_of_a_lab() as first_port:
        try:
            # Other tests must not take this lab's ports for theirs: only its making sees them in the environment.
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LABKIT_HOME", str(home.root))
                patch.setenv("LABKIT_PORT_BASE", str(first_port))
                lab = load_lab()
                _main_labs.append(lab)
                run = run_notebooks(lab)
            yield run
        finally:
            _no_longer_needed()


@pytest.fixture(scope="session")
def lab(executed: Path) -> Lab:
    """The running lab that the notebooks made."""
    return load_lab(LabHome(executed.parent.parent))
