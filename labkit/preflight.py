"""`labkit preflight`: can this machine carry the lab, may clusters be installed into? Looks only, changes nothing."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from pathlib import Path

import psutil

from labkit.clusters.minikube import SMALLER, MinikubeClusters, shortfall, this_host
from labkit.config import Lab
from labkit.down import lab_processes
from labkit.errors import LabError
from labkit.findings import Finding
from labkit.incluster import assert_installable, examine
from labkit.paths import cache_dir
from labkit.process import OTHER_PORTS, taken_ports
from labkit.services.kargo import choose_engine
from labkit.tables import Table
from labkit.toolchain import find_tools

GIB = 2**30


class Preflight(Table[Finding]):
    """What this machine has, and what it lacks."""

    title = "Preflight"
    columns = ("check", "result", "found", "todo")

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.result != "failed" for finding in self.rows)


def preflight(lab: Lab) -> Preflight:
    """Look at Python, git, memory, disk, ports and programs; or at clusters that the lab is to be installed into."""
    if lab.settings.in_cluster:
        return Preflight((_python(), *(_minikube(lab) or examine(lab))))
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
    """Refuse what cannot carry the lab, this machine or clusters that are there, before anything is changed.

    Raises:
        LabError: Names all that is missing, with the way out.
    """
    if lab.settings.provider == "existing":
        assert_installable(lab)
        return
    findings = (_python(), *_minikube(lab)) if lab.settings.in_cluster else _embedded(lab)
    failed = [finding for finding in findings if finding.result == "failed"]
    if failed:
        raise LabError(
            "This machine cannot carry the lab as it is; nothing was created",
            seen="; ".join(f"{finding.check}: {finding.found}" for finding in failed),
            todo="; ".join(finding.todo for finding in failed),
        )


def _embedded(lab: Lab) -> tuple[Finding, ...]:
    """What must be there before the first program is fetched."""
    runs = bool(lab_processes(lab))
    return (_python(), _git(), _memory(lab, runs), _disk_for_lab(lab), _ports(lab), _kargo(lab))


def _minikube(lab: Lab) -> tuple[Finding, ...]:
    """What minikube needs for clusters that do not run yet; nothing where it is not asked for, or all of them run."""
    if lab.settings.provider != "minikube":
        return ()
    clusters = MinikubeClusters(lab)
    to_start = clusters.to_start()
    if not to_start:
        return ()
    try:
        driver = Finding("minikube's driver", "ok", clusters.driver())
    except LabError as error:
        driver = Finding("minikube's driver", "failed", error.seen or error.what, error.todo)
    lacking = shortfall(lab, this_host(lab.home.root), to_start)
    names = ", ".join(environment.context for environment in to_start)
    room = Finding(
        f"room for {names}",
        "failed" if lacking else "ok",
        "; ".join(lacking) or f"enough at scale {lab.settings.minikube.scale:g}",
        SMALLER if lacking else "",
    )
    program = find_tools(["minikube"]).missing
    found = "to be downloaded, or built from source" if program else "found"
    return (driver, room, Finding("minikube", "note" if program else "ok", found))


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
