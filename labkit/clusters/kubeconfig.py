"""Kubeconfigs: the lab's own file with the contract's contexts, and others' files, which are only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import UsageError

# Entries of a kubeconfig that name a file, relative to it.
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def write_kubeconfig(file: Path, access: Mapping[str, Mapping[str, Any]]) -> None:
    """Write contexts to a kubeconfig, keeping the current context where it still exists.

    Args:
        file: The kubeconfig, replaced as a whole.
        access: For each context its `cluster` and `user` entries.
    """
    current = ""
    if file.exists():
        current = (yaml.safe_load(file.read_text()) or {}).get("current-context", "")
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current if current in access else next(iter(access), ""),
        "clusters": [{"name": name, "cluster": dict(entry["cluster"])} for name, entry in access.items()],
        "users": [{"name": f"{name}-admin", "user": dict(entry["user"])} for name, entry in access.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}} for name in access],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(yaml.safe_dump(content, sort_keys=False))
    new.replace(file)


def read_access(file: Path, context: str, *, todo: str) -> dict[str, dict[str, Any]]:
    """The `cluster` and `user` entries of a context of a kubeconfig, files in them by their whole path.

    Args:
        file: The kubeconfig.
        context: The context.
        todo: The way out, for the error.

    Raises:
        UsageError: The file cannot be read, or has no such context.
    """
    known = _read(file, todo)
    named = _named(known, "contexts", context)
    if named is None:
        names = ", ".join(item["name"] for item in known.get("contexts") or []) or "none"
        raise UsageError(f"{file} has no context {context!r}", seen=f"its contexts: {names}", todo=todo)
    entry = named.get("context") or {}
    cluster, user = _named(known, "clusters", entry.get("cluster", "")), _named(known, "users", entry.get("user", ""))
    if cluster is None or user is None:
        raise UsageError(
            f"Context {context!r} of {file} names a cluster or a user that the file does not have",
            seen=str(entry),
            todo=todo,
        )
    return {"cluster": _absolute(cluster.get("cluster"), file), "user": _absolute(user.get("user"), file)}


def _read(file: Path, todo: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read as a kubeconfig", seen=str(error), todo=todo) from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} is not a kubeconfig", todo=todo)
    return content


def _named(content: Mapping[str, Any], kind: str, name: str) -> dict[str, Any] | None:
    return next((item for item in content.get(kind) or [] if item.get("name") == name), None)


def _absolute(entry: Mapping[str, Any] | None, file: Path) -> dict[str, Any]:
    return {
        key: str(file.parent.absolute() / value) if key in _FILES and value else value
        for key, value in (entry or {}).items()
    }
