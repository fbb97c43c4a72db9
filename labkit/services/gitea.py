"""Gitea: Git, pull requests, commit statuses and the image registry of the lab."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from labkit.config import BOT, GATE_BOT, ORGANISATION, Lab
from labkit.delivery.gitea import ADMIN, CI, gitea_as
from labkit.passwords import password
from labkit.process import run
from labkit.rules import rules
from labkit.services.supervisor import Service, Supervisor, digest
from labkit.templates import render
from labkit.toolchain import Toolset


def ensure_gitea(lab: Lab, tools: Toolset) -> None:
    """Run Gitea, with the lab's people, organisation and teams in it."""
    config = _write_config(lab, tools)
    Supervisor(lab).ensure_services([_service(lab, tools, config)])
    _ensure_admin(lab, tools, config)
    _ensure_people(lab)


def _service(lab: Lab, tools: Toolset, config: Path) -> Service:
    return Service(
        name="gitea",
        about="Git, pull requests, commit statuses, image registry",
        command=(str(tools.path("gitea")), "web", "--config", str(config)),
        health=f"{lab.gitea_url}/api/healthz",
        environment=digest(config),
        ports={"http": lab.port("gitea")},
    )


def _write_config(lab: Lab, tools: Toolset) -> Path:
    folder = lab.home.services / "gitea"
    config = folder / "app.ini"
    folder.mkdir(parents=True, exist_ok=True)
    gitea = str(tools.path("gitea"))

    def make(kind: str) -> str:
        return password(lab, f"gitea-{kind}", lambda: run([gitea, "generate", "secret", kind]).strip())

    text = render(
        "gitea/app.ini",
        folder=folder,
        port=lab.port("gitea"),
        is_root=os.geteuid() == 0,
        user=getpass.getuser(),
        # A Gitea built from its module has no pages inside; an official binary has.
        static_root=tools.folder("gitea-share") if tools.has("gitea-share") else "",
        secret_key=make("SECRET_KEY"),
        internal_token=make("INTERNAL_TOKEN"),
        jwt_secret=make("JWT_SECRET"),
        metrics_token=password(lab, "gitea-metrics"),
    )
    config.touch(mode=0o600)
    config.write_text(text)
    return config


def _ensure_admin(lab: Lab, tools: Toolset, config: Path) -> None:
    if gitea_as(lab, ADMIN).signs_in():
        return
    run(
        [
            *(tools.path("gitea"), "--config", config, "admin", "user", "create"),
            *("--admin", "--username", ADMIN, "--password", password(lab, ADMIN)),
            *("--email", f"{ADMIN}@lab.invalid", "--must-change-password=false"),
        ],
        todo="`labkit logs gitea`",
    )


def _ensure_people(lab: Lab) -> None:
    gitea = gitea_as(lab, ADMIN)
    gitea.ensure_organisation(ORGANISATION)
    robots = {
        BOT: "writes the stage branches for Kargo",
        CI: "tests, builds and pushes images",
        GATE_BOT: "says on a pull request which gates are open",
        rules().rollback_bot: "rolls back by itself",
    }
    for name, about in {**lab.people, **robots}.items():
        gitea.ensure_user(name, password(lab, name), about)
    code, look = {"repo.code": "write", "repo.pulls": "write"}, {"repo.code": "read", "repo.pulls": "read"}
    gitea.ensure_team(ORGANISATION, "engineers", "write", code, ("developer", "qa", "release-manager", BOT))
    gitea.ensure_team(ORGANISATION, "gatekeepers", "write", code, (GATE_BOT, rules().rollback_bot))
    gitea.ensure_team(ORGANISATION, "ci", "write", {**code, "repo.packages": "write"}, (CI,))
    gitea.ensure_team(ORGANISATION, "viewers", "read", look, ("viewer",))
