"""Persistent volumes: the folder of this machine that a pod's claim is bound to."""

from __future__ import annotations

from pathlib import Path

from labkit.asynckube.objects import Obj, Resource, namespace_of
from labkit.asynckube.server import ApiServer
from labkit.podrunner.environment import ConfigError

CLAIM = Resource("PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME = Resource("PersistentVolume", "persistentvolumes", namespaced=False)


def claims(pod: Obj) -> dict[str, str]:
    """The claims that a pod names, by the names of its volumes."""
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes") or []
        if "persistentVolumeClaim" in volume
    }


async def claimed_folders(server: ApiServer, pod: Obj, root: Path) -> dict[str, Path]:
    """The folder behind each claim that a pod names, by the names of its volumes.

    Args:
        server: The cluster's API server.
        pod: The pod.
        root: The folder that all volumes of the cluster are in.

    Raises:
        ConfigError: A claim is not there or not bound, or its volume is no folder in `root`.
    """
    return {
        name: volume_folder(await _volume(server, namespace_of(pod), claim), root)
        for name, claim in claims(pod).items()
    }


async def _volume(server: ApiServer, namespace: str, name: str) -> Obj:
    claim = await server.find(CLAIM, namespace, name)
    if claim is None:
        raise ConfigError(f'persistentvolumeclaim "{name}" not found')
    bound_to = claim["spec"].get("volumeName", "")
    volume = await server.find(VOLUME, "", bound_to) if bound_to else None
    if volume is None:
        raise ConfigError(f'persistentvolumeclaim "{name}" is not bound to a volume')
    return volume


def volume_folder(volume: Obj, root: Path) -> Path:
    """The folder of a volume; one elsewhere on this machine than in `root` is refused, as a pod's own hostPath is.

    Raises:
        ConfigError: It is no folder in `root`.
    """
    folder = Path((volume["spec"].get("hostPath") or {}).get("path", ""))
    if root.resolve() not in folder.resolve().parents:
        raise ConfigError(f"persistentvolume {volume['metadata']['name']} is no folder of the lab's volumes")
    return folder
