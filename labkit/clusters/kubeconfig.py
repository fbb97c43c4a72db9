"""The lab's kubeconfig: its own file with the contract's contexts, never `~/.kube/config`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


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
