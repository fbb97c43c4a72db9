"""`labkit preflight`: can this machine carry the lab? Looks only, changes nothing."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit.config import Lab
from labkit.down import lab_processes
from labkit.errors import LabError
from labkit.paths import cache_dir
from labkit.process import OTHER_PORTS, taken_ports
from labkit.services.kargo import choose_engine
from labkit.tables import Record, Table
from labkit.toolchain import find_tools

GIB = 2**30


@dataclass(frozen=True, repr=False)
class Finding(Record):
    """One thing that was looked at: `ok`, `note` (the lab works, but mind it) or `failed`."""

    check: str
    result: str
    found: str
    todo: str = ""


class Preflight(Table[Finding]):
    """What this machine has, and what it lacks."""

    title = "Preflight"
    columns = ("check", "result", "found", "todo")

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.result != "failed" for finding in self.rows)


def preflight(lab: Lab) -> Preflight:
    """Look at Python, git, memory, disk, ports and programs."""
    return Preflight(
        (
            _python(),
            _git(),
            _memory(lab, bool(lab_processes(lab))),
            _disk_for_lab(lab),
            _programs(lab),
            _ports(lab),
            _kargo(lab),
        )
    )


def assert_machine(lab: Lab) -> None:
    """Refuse a machine that cannot carry the lab, before anything is created.

    Raises:
        LabError: Names all that is missing, with the way out.
    """
    runs = bool(lab_processes(lab))
    findings = (_python(), _git(), _memory(lab, runs), _disk_for_lab(lab), _ports(lab), _kargo(lab))
    failed = [finding for finding in findings if finding.result == "failed"]
    if failed:
        raise LabError(
            "This machine cannot carry the lab as it is; nothing was created",
            seen="; ".join(f"{finding.check}: {finding.found}" for finding in failed),
            todo="; ".join(finding.todo for finding in failed),
        )


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    enough = sys.version_info >= (3, 11)
    todo = "" if enough else "install Python 3.11 or newer"
    return Finding("Python 3.11 or newer", "ok" if enough else "failed", found, todo)


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", "ok" if found else "failed", found or "not on PATH", "" if found else "install git")


def _memory(lab: Lab, running: bool) -> Finding:
    free = psutil.virtual_memory().available / GIB
    enough = running or free >= lab.limits.memory_gib
    return Finding(
        f"{lab.limits.memory_gib} GiB of free memory",
        "ok" if enough else "failed",
        f"{free:.1f} GiB free" + (", the lab already runs" if running else ""),
        "" if enough else "close other programs, or use a larger machine",
    )


def _disk_for_lab(lab: Lab) -> Finding:
    return _disk("disk for the lab", lab.home.root, lab.limits.disk_gib, "$LABKIT_HOME")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _disk(check: str, path: Path, wanted: int, variable: str) -> Finding:
    free = shutil.disk_usage(_existing(path)).free / GIB
    enough = free >= wanted
    todo = "" if enough else f"free some, or set {variable} to a folder on another disk"
    return Finding(f"{wanted} GiB of {check}", "ok" if enough else "failed", f"{free:.0f} GiB free at {path}", todo)


def _programs(lab: Lab) -> Finding:
    missing = find_tools().missing
    if not missing:
        return Finding("programs", "ok", "all found")
    names = ", ".join(tool.name for tool in missing)
    space = _disk("disk for the program cache", cache_dir(), lab.limits.cache_gib, "$LABKIT_CACHE")
    if space.result == "failed":
        return space
    return Finding(
        "programs",
        "note",
        f"to be downloaded, or built from source (about 15 minutes on 2 cores): {names}",
        "`labkit tools --fetch` gets them now",
    )


def _ports(lab: Lab) -> Finding:
    check = f"ports {lab.port_range.start}-{lab.port_range.stop - 1}"
    own = _own_ports(lab)
    # Somebody may look at the board while this command runs; it is no service of the lab.
    needed = {name: port for name, port in lab.ports.items() if port not in own and name != "board"}
    taken = taken_ports(needed)
    if taken:
        others = "stop that process, or set LABKIT_PORT_BASE to another number"
        todo = OTHER_PORTS if lab.home.is_lab else others
        return Finding(check, "failed", "; ".join(taken), todo)
    return Finding(check, "ok", "in use by this lab" if own else "free")


def _own_ports(lab: Lab) -> set[int]:
    """Ports that this lab's own processes listen on."""
    own = set()
    for process in lab_processes(lab):
        with contextlib.suppress(psutil.Error):
            connections = process.net_connections("tcp")
            own |= {item.laddr.port for item in connections if item.status == psutil.CONN_LISTEN}
    return own


def _kargo(lab: Lab) -> Finding:
    try:
        engine = choose_engine(lab)
    except LabError as error:
        return Finding("Kargo", "failed", f"{error.what}: {error.seen}" if error.seen else error.what, error.todo)
    return Finding("Kargo", "ok" if engine.name == "kargo" else "note", f"{engine.name}: {engine.why}")
