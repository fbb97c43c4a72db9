"""Taking the lab down: what carries its mark, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import psutil

from labkit.clusters import provider
from labkit.config import Lab
from labkit.errors import LabError
from labkit.incluster import uninstall
from labkit.process import running_processes
from labkit.progress import step
from labkit.services.pods import end_pods, pod_processes
from labkit.services.supervisor import Supervisor


def lab_processes(lab: Lab) -> list[psutil.Process]:
    """Every process on this machine that belongs to this lab: services, pods, the clusters' components."""
    root = str(lab.home.clusters)
    found = {process.pid: process for process in [*Supervisor(lab).marked(), *pod_processes(lab)]}
    for process in running_processes():
        try:
            words = process.cmdline()
        except (psutil.Error, OSError):
            continue
        if words and words[0].startswith(f"{root}/"):
            found[process.pid] = process
    return list(found.values())


def down(lab: Lab, *, purge: bool = False) -> None:
    """Stop every process of the lab; with `purge`, delete its folder too.

    Clusters that were there before the lab are not stopped: with `purge`, what was installed into them is taken out.

    Args:
        lab: The lab.
        purge: Delete `$LABKIT_HOME`, clusters and all.

    Raises:
        LabError: The folder is not a lab's: it is left alone. Or a cluster does not answer that the lab is installed
            in: the folder stays, for without it nobody would know what is the lab's there.
    """
    home = lab.home
    if home.is_empty:
        return
    if home.objection:
        raise LabError(
            f"{home.root} is left alone: it {home.objection}",
            todo="set LABKIT_HOME to the lab's folder",
        )
    with step("Stop the services"):
        Supervisor(lab).stop()
        end_pods(lab)
    clusters = provider(lab)
    if purge and not clusters.owned and home.is_lab:
        # Before the folder goes: what marks the lab's objects is in it.
        uninstall(lab)
    with step("Delete the clusters" if purge else "Stop the clusters"):
        for environment in lab.environments:
            (clusters.delete if purge else clusters.stop)(environment)
    if purge:
        with step(f"Delete the lab's folder, {home.root}"):
            _delete(home.root)


def _delete(folder: Path) -> None:
    """Delete a folder, and in it what even its owner may not list: Argo CD's repo server hides its clones that way."""
    for parent, names, _ in os.walk(folder):
        for below in (Path(parent, name) for name in names):
            if not below.is_symlink() and below.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
                below.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
