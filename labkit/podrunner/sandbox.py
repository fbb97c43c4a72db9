"""A pod's private folder: its volumes, a root for each container, its logs, and what to remember."""

from __future__ import annotations

import json
import posixpath
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from labkit.asynckube.objects import Obj
from labkit.podrunner.environment import ConfigError, Sources
from labkit.podrunner.images import LocalImage, copy_root, share_root


class Sandbox:
    """One pod's folder.

    Args:
        folder: The folder; its name is the pod's uid.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        """Make the folder, for its owner's eyes only."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("roots", "volumes", "logs", "home"):
            (self.folder / name).mkdir(exist_ok=True)

    def remove(self) -> None:
        """Delete it all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def home(self) -> Path:
        """The HOME of the pod's processes."""
        return self.folder / "home"

    def log(self, container: str) -> Path:
        """Where a container's log is."""
        return self.folder / "logs" / f"{container}.log"

    def previous_log(self, container: str) -> Path:
        """Where the log of a container's run before this one is."""
        return self.folder / "logs" / f"{container}.previous.log"

    def remember(self, data: Obj) -> None:
        """Keep what the next runner has to know."""
        new = self.folder / "state.json.new"
        new.write_text(json.dumps(data))
        new.replace(self.folder / "state.json")

    def remembered(self) -> Obj:
        """What was kept last; nothing at first."""
        try:
            data: Obj = json.loads((self.folder / "state.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return data

    def prepare_volumes(self, pod: Obj, sources: Sources, claimed: Mapping[str, Path]) -> None:
        """Create the pod's volumes; an emptyDir that is there already keeps its files.

        Args:
            pod: The pod.
            sources: Its ConfigMaps and Secrets.
            claimed: The folders behind its claims, by the names of its volumes; they outlive it.

        Raises:
            ConfigError: A ConfigMap, Secret or key that a volume names does not exist.
        """
        for volume in pod["spec"].get("volumes") or []:
            folder = self.folder / "volumes" / volume["name"]
            if outside := claimed.get(volume["name"]):
                folder.unlink(missing_ok=True)
                folder.symlink_to(outside)
                continue
            folder.mkdir(exist_ok=True)
            if source := volume.get("configMap"):
                optional = bool(source.get("optional"))
                _write_files(folder, source, sources.config_map(source["name"], optional=optional), "configmap")
            elif source := volume.get("secret"):
                optional = bool(source.get("optional"))
                _write_files(folder, source, sources.secret(source["secretName"], optional=optional), "secret")

    def prepare_root(self, container: Obj, image: LocalImage) -> Path:
        """A fresh root for a container: the image's files, with the volumes where they are mounted.

        One whose file system is read-only shares the files with the image, and with all that run it; a copy takes
        longer than the start of a program.

        Returns:
            The container's root.
        """
        root = self.folder / "roots" / str(container["name"])
        if root.exists():
            shutil.rmtree(root)
        read_only = (container.get("securityContext") or {}).get("readOnlyRootFilesystem", False)
        (share_root if read_only else copy_root)(image, root)
        for mount in sorted(container.get("volumeMounts") or [], key=lambda item: str(item["mountPath"])):
            target = self.inside(root, mount["mountPath"])
            if target == root:
                raise ConfigError(f"volume {mount['name']} cannot be mounted at /")
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            target.symlink_to(self.folder / "volumes" / mount["name"])
        return root

    def working_directory(self, root: Path, container: Obj, image: LocalImage) -> Path:
        """Where a container's command starts: as the pod says, else as the image says."""
        folder = self.inside(root, container.get("workingDir") or image.config.get("WorkingDir") or "/")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @staticmethod
    def inside(root: Path, path: str) -> Path:
        """A path of a container on this machine: no `..` leads out of its root."""
        return root / posixpath.normpath(f"/{path}").lstrip("/")


def _write_files(folder: Path, source: Obj, content: Mapping[str, bytes], kind: str) -> None:
    """Write a ConfigMap's or Secret's keys, or those that `items` names, as files."""
    wanted = {item["key"]: item["path"] for item in source.get("items") or []} or {key: key for key in content}
    for key, path in wanted.items():
        if key not in content:
            if source.get("optional"):
                continue
            raise ConfigError(f"{kind} references non-existent config key: {key}")
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ConfigError(f"a volume's path leads outside: {path}")
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content[key])
        file.chmod(int(source.get("defaultMode", 0o644)) | 0o400)
