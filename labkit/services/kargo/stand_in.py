"""kargolite: labkit's stand-in for Kargo's controllers and webhooks server, in one host process."""

from __future__ import annotations

from pathlib import Path

import yaml

from labkit.clusters import provider
from labkit.config import ARGOCD_NAMESPACE, Lab
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service

KARGOLITE = "kargolite"


def stand_in_services(lab: Lab, certificates: Path) -> list[Service]:
    """kargolite's one process.

    Args:
        lab: The lab.
        certificates: The folder with key and certificate for admission.
    """
    clusters = provider(lab)
    folder = lab.home.services / KARGOLITE
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "controlKubeconfig": str(clusters.own_kubeconfig(lab.control)),
                "shards": {
                    environment.name: {"kubeconfig": str(clusters.own_kubeconfig(environment))}
                    for environment in lab.environments
                },
                "argocdNamespace": ARGOCD_NAMESPACE,
                "webhooks": {"port": lab.port("kargo-webhooks"), "certDir": str(certificates)},
                "health": {"port": lab.port("kargo-health")},
                "workDir": str(folder / "work"),
            },
            sort_keys=False,
        )
    )
    return [
        Service(
            name=KARGOLITE,
            about="stands in for Kargo's controllers and webhooks server",
            command=(PYTHON, "-m", "labkit.kargolite", "--config", str(config)),
            health=f"http://{LOOPBACK}:{lab.port('kargo-health')}/healthz",
            ports={"webhooks": lab.port("kargo-webhooks"), "health": lab.port("kargo-health")},
        )
    ]
