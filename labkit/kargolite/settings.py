"""The program's configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """Where the API servers are, and where to listen.

    Attributes:
        control: Kubeconfig of the cluster that carries Kargo's resources.
        shards: For each shard, the kubeconfig of its Argo CD's cluster; the first also serves objects without shard.
        argocd_namespace: Where Applications are.
        webhooks_port: Where admission reviews are answered, by HTTPS on 127.0.0.1.
        certificates: Folder with `tls.crt` and `tls.key`.
        health_port: Where `GET /healthz` is answered, on 127.0.0.1.
        work: Folder for the working copies of running Promotions.
    """

    control: Path
    shards: Mapping[str, Path]
    argocd_namespace: str
    webhooks_port: int
    certificates: Path
    health_port: int
    work: Path

    @property
    def default_shard(self) -> str:
        """The shard that serves objects without one."""
        return next(iter(self.shards))


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        UsageError: It cannot be read, or a value is missing.
    """
    try:
        data: Any = yaml.safe_load(path.read_text())
        settings = Settings(
            control=Path(data["controlKubeconfig"]),
            shards={name: Path(shard["kubeconfig"]) for name, shard in data["shards"].items()},
            argocd_namespace=data["argocdNamespace"],
            webhooks_port=int(data["webhooks"]["port"]),
            certificates=Path(data["webhooks"]["certDir"]),
            health_port=int(data["health"]["port"]),
            work=Path(data["workDir"]),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no kargolite configuration", seen=f"{type(error).__name__}: {error}") from error
    if not settings.shards:
        raise UsageError(f"{path} names no shard", todo="give each Argo CD's kubeconfig under `shards`")
    return settings
