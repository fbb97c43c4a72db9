"""The program's configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.settings_file import read_settings


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
        UsageError: It cannot be read, a value is missing, or it names no shard.
    """
    return read_settings(path, "kargolite", _settings)


def _settings(data: Any) -> Settings:
    if not data["shards"]:
        raise ValueError("no shard: give each Argo CD's kubeconfig under `shards`")
    return Settings(
        control=Path(data["controlKubeconfig"]),
        shards={name: Path(shard["kubeconfig"]) for name, shard in data["shards"].items()},
        argocd_namespace=data["argocdNamespace"],
        webhooks_port=int(data["webhooks"]["port"]),
        certificates=Path(data["webhooks"]["certDir"]),
        health_port=int(data["health"]["port"]),
        work=Path(data["workDir"]),
    )
