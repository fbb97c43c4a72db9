"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.podrunner.backoff import Pauses
from labkit.settings_file import read_settings


@dataclass(frozen=True)
class Gateway:
    """A port of 127.0.0.1 that leads to a Service, as a cluster's load balancer would.

    Attributes:
        port: The port.
        namespace: The Service's namespace.
        service: Its name.
        service_port: The port of the Service.
    """

    port: int
    namespace: str
    service: str
    service_port: int


@dataclass(frozen=True)
class Settings:
    """Whose pods to run, and where.

    Attributes:
        environment: The environment's name, a label of all metrics.
        kubeconfig: How to reach the cluster.
        port: Where the proxy, `/metrics` and `/healthz` answer, on 127.0.0.1.
        home: The lab's folder, the mark of its processes.
        folder: A folder for each pod is made in it.
        volumes: The folders of the persistent volumes are in it.
        images: The unpacked images, shared by all runners of a lab.
        network: The first two numbers of the pods' addresses, such as `10.201`.
        restarts: The pauses between restarts of a container.
        pulls: The pauses between pulls of an image.
        log_bytes: The size at which a log is rotated.
        gateways: Ways in from outside the cluster.
    """

    environment: str
    kubeconfig: Path
    port: int
    home: Path
    folder: Path
    volumes: Path
    images: Path
    network: str
    restarts: Pauses
    pulls: Pauses
    log_bytes: int
    gateways: tuple[Gateway, ...]


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        UsageError: It cannot be read, or a value is missing.
    """
    return read_settings(path, "a pod runner", _settings)


def _settings(data: Any) -> Settings:
    return Settings(
        environment=str(data["environment"]),
        kubeconfig=Path(data["kubeconfig"]),
        port=int(data["port"]),
        home=Path(data["home"]),
        folder=Path(data["folder"]),
        volumes=Path(data["volumes"]),
        images=Path(data["images"]),
        network=str(data["network"]),
        restarts=_pauses(data["restartBackOff"]),
        pulls=_pauses(data["pullBackOff"]),
        log_bytes=int(data["logBytes"]),
        gateways=tuple(
            Gateway(int(item["port"]), str(item["namespace"]), str(item["service"]), int(item["servicePort"]))
            for item in data["gateways"]
        ),
    )


def _pauses(data: Any) -> Pauses:
    return Pauses(float(data["firstSeconds"]), float(data["longestSeconds"]))
