"""Where the lab keeps its things: the checkout's data, `$LABKIT_HOME` and the program cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

REPO = Path(__file__).resolve().parent.parent
DATA = REPO / "data"
NOTEBOOKS = REPO / "notebooks"


@dataclass(frozen=True)
class LabHome:
    """The one folder that holds the state of a lab (`$LABKIT_HOME`)."""

    root: Path

    @property
    def settings(self) -> Path:
        """What was chosen when this lab was created (provider, ports, engine)."""
        return self.root / "lab.yaml"

    @property
    def lock(self) -> Path:
        """Held by the command that is changing the lab."""
        return self.root / "lab.lock"

    @property
    def kubeconfig(self) -> Path:
        """The lab's contexts, as in the contract."""
        return self.root / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        """What kubectl remembers of the lab's API servers."""
        return self.root / "kubectl-cache"

    @property
    def bin(self) -> Path:
        """Links to the programs that this lab uses, for PATH."""
        return self.root / "bin"

    @property
    def clusters(self) -> Path:
        """State of the clusters."""
        return self.root / "clusters"

    @property
    def services(self) -> Path:
        """State of the host processes, a folder for each."""
        return self.root / "services"

    @property
    def pods(self) -> Path:
        """Pods that run as processes: a folder for each, by environment, and their images."""
        return self.root / "pods"

    @property
    def logs(self) -> Path:
        """Logs of the host processes, a file for each."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, mode 600."""
        return self.root / "secrets"

    @property
    def work(self) -> Path:
        """Git working copies."""
        return self.root / "work"

    @property
    def runs(self) -> Path:
        """Executed notebooks and reports, a folder for each run."""
        return self.root / "runs"

    @property
    def report(self) -> Path:
        """The report of the lab, as `labkit report` has written it last."""
        return self.root / "report.html"

    @property
    def evidence(self) -> Path:
        """Records of Promotions, a JSON file and a page for each."""
        return self.root / "evidence"

    @property
    def is_lab(self) -> bool:
        """Whether there is a lab in it: its settings are the mark, and are the first thing that is written."""
        return self.settings.is_file()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, or no such folder."""
        return not self.root.exists() or (self.root.is_dir() and not any(self.root.iterdir()))

    @property
    def objection(self) -> str:
        """Why this can be no lab's folder, which the lab may delete as a whole; empty where it can."""
        if self.root in (Path.home().resolve(), *Path.home().resolve().parents):
            return "is your home folder, or holds it"
        if self.root in (REPO, *REPO.parents):
            return "is labkit's own repository, or holds it"
        if not self.is_lab and not self.is_empty:
            return "is not empty and holds no lab" if self.root.is_dir() else "is not a folder"
        return ""

    def ensure(self) -> LabHome:
        """Create the folder, for its owner's eyes only."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def lab_home() -> LabHome:
    """The lab in use: `$LABKIT_HOME`, else `.lab` at the repository's root; one lab has one path, without links."""
    return LabHome(Path(os.environ.get("LABKIT_HOME") or REPO / ".lab").expanduser().resolve())


def cache_dir() -> Path:
    """The program cache, shared by all labs of a user: `$LABKIT_CACHE`, else the platform's cache folder."""
    chosen = os.environ.get("LABKIT_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("labkit")
