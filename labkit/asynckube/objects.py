"""Kubernetes objects as plain JSON: kinds, keys, and what all objects have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

Obj = dict[str, Any]


class Key(NamedTuple):
    """Which object of a kind: its namespace ("" for cluster-wide kinds) and name."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Resource:
    """A kind as the API server addresses it."""

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The address on the API server."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{place}/{self.plural}", name, subresource) if part)


NAMESPACE = Resource("Namespace", "namespaces", namespaced=False)
SECRET = Resource("Secret", "secrets")
EVENT = Resource("Event", "events")


def key_of(obj: Obj) -> Key:
    """The object's key."""
    return Key(obj["metadata"].get("namespace", ""), obj["metadata"].get("name", ""))


def name_of(obj: Obj) -> str:
    """The object's name."""
    return str(obj["metadata"].get("name", ""))


def namespace_of(obj: Obj) -> str:
    """The object's namespace."""
    return str(obj["metadata"].get("namespace", ""))


def annotations_of(obj: Obj) -> dict[str, str]:
    """The object's annotations, to read."""
    return obj["metadata"].get("annotations") or {}


def labels_of(obj: Obj) -> dict[str, str]:
    """The object's labels, to read."""
    return obj["metadata"].get("labels") or {}


def generation_of(obj: Obj) -> int:
    """How often the object's spec has changed."""
    return int(obj["metadata"].get("generation", 0))


def status_of(obj: Obj | None) -> Obj:
    """The object's status, to read."""
    return (obj or {}).get("status") or {}


def is_deleted(obj: Obj) -> bool:
    """Whether somebody asked for the object's deletion."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def now() -> str:
    """The time as Kubernetes writes it: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(value: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def seconds_since(value: str) -> float:
    """How long ago a time was."""
    return (datetime.now(UTC) - parse_time(value)).total_seconds()
