"""A lab of its own with nothing but Gitea in it, for tests of what talks to Gitea."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from _ports import ports_of_a_lab

from labkit.config import ACCEPTANCE, ORGANISATION, SOURCE_REPO, Lab, choose, load_lab
from labkit.delivery.gitea import ADMIN, CI, Gitea, gitea_as, gitea_token
from labkit.delivery.gitops import ensure_repos
from labkit.paths import LabHome
from labkit.services.gitea import ensure_gitea
from labkit.services.supervisor import Supervisor
from labkit.toolchain import ensure_tools
from labkit.wait import wait_for


@dataclass(frozen=True)
class GiteaServer:
    """A running Gitea with the lab's people and organisation."""

    lab: Lab
    admin: Gitea
    ci_user: str
    ci_token: str


@pytest.fixture(scope="module")
def gitea_server(tmp_path_factory) -> Iterator[GiteaServer]:
    """Gitea with the lab's people, organisation and repos, on free ports."""
    with ports_of_a_lab() as first_port:
        lab = choose(load_lab(LabHome(tmp_path_factory.mktemp("lab"))), port_base=first_port)
        try:
            ensure_gitea(lab, ensure_tools(["gitea", "gitea-share"]))
            ensure_repos(lab)
            yield GiteaServer(lab, gitea_as(lab, ADMIN), CI, gitea_token(lab, CI))
        finally:
            Supervisor(lab).stop()


SECRET = "a webhook secret"


@dataclass(frozen=True)
class CiReceiver:
    """How to run the CI receiver as a process."""

    server: GiteaServer
    config: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.lab.port('ci')}"

    @contextmanager
    def running(self) -> Iterator[psutil.Popen]:
        """The receiver, for as long as the block takes."""
        with (self.config.parent / "ci.log").open("a") as log:
            process = psutil.Popen(
                [sys.executable, "-m", "labkit.delivery.ci", "--config", str(self.config)], stdout=log, stderr=log
            )
        try:
            wait_for("the CI receiver", lambda: self.healthy(process), timeout=30)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=15)

    def healthy(self, process: psutil.Popen) -> bool:
        assert process.poll() is None, (self.config.parent / "ci.log").read_text()
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def ci_receiver(server: GiteaServer, folder: Path, **changes: object) -> CiReceiver:
    """A receiver for the lab's source repo; its webhook is in place."""
    config = folder / "ci.yaml"
    values = {
        "port": server.lab.port("ci"),
        "gitea": server.lab.gitea_url,
        "organisation": ORGANISATION,
        "repo": SOURCE_REPO,
        "user": server.ci_user,
        "token": server.ci_token,
        "webhookSecret": SECRET,
        "registry": server.lab.registry,
        "images": [*server.lab.tiers, ACCEPTANCE],
        "workDir": str(folder / "work"),
        "testSeconds": 60,
        "afterBuild": [],
    }
    config.write_text(yaml.safe_dump(values | changes))
    receiver = CiReceiver(server, config)
    server.admin.ensure_webhook(f"{ORGANISATION}/{SOURCE_REPO}", f"{receiver.url}/webhook", SECRET, ("push",))
    return receiver
