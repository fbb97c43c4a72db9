"""CI: a receiver of Gitea's webhook that tests commits, builds images and asks Kargo's Warehouse to look."""

from __future__ import annotations

from pathlib import Path

import yaml

from labkit.clusters import provider
from labkit.config import ACCEPTANCE, ORGANISATION, PREVIEW_PROJECT, PROJECT, SOURCE_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import ADMIN, CI, gitea_as, gitea_token
from labkit.delivery.tags import FEATURE_BRANCHES, RELEASE_BRANCH
from labkit.passwords import password
from labkit.paths import cache_dir
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service, Supervisor


def ensure_ci(lab: Lab) -> None:
    """Run CI for the demo app's repo, and have Gitea call it on every push."""
    url = f"http://{LOOPBACK}:{lab.port('ci')}"
    Supervisor(lab).ensure_services(
        [
            Service(
                name="ci",
                about="tests, builds and pushes the demo app's images",
                command=(PYTHON, "-m", "labkit.delivery.ci", "--config", str(_write_config(lab))),
                health=f"{url}/healthz",
                ports={"webhook": lab.port("ci")},
                # Wheels are kept for all labs of a user, and fetched as this user's pip is set up.
                environment={"HOME": str(Path.home()), "LABKIT_CACHE": str(cache_dir())},
            )
        ]
    )
    gitea_as(lab, ADMIN).ensure_webhook(repo_path(SOURCE_REPO), f"{url}/webhook", _secret(lab), ("push",))


def _secret(lab: Lab) -> str:
    return password(lab, "ci-webhook")


def _write_config(lab: Lab) -> Path:
    folder = lab.home.services / "ci"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(
        yaml.safe_dump(
            {
                "port": lab.port("ci"),
                "gitea": lab.gitea_url,
                "organisation": ORGANISATION,
                "repo": SOURCE_REPO,
                "user": CI,
                "token": gitea_token(lab, CI),
                "webhookSecret": _secret(lab),
                "registry": lab.registry,
                "images": [*lab.tiers, ACCEPTANCE],
                "workDir": str(folder / "work"),
                "testSeconds": lab.limits.build_seconds,
                "afterBuild": [
                    {
                        "branches": branches,
                        "kubeconfig": str(provider(lab).own_kubeconfig(lab.control)),
                        "context": lab.control.context,
                        "namespace": project,
                        # Each Project's Warehouse is called like the Project.
                        "warehouse": project,
                    }
                    for branches, project in ((RELEASE_BRANCH, PROJECT), (FEATURE_BRANCHES, PREVIEW_PROJECT))
                ],
            },
            sort_keys=False,
        )
    )
    return config
