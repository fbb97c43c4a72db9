"""The lab's mark on what it installs: only what carries it is ever changed or deleted."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from labkit.config import Lab
from labkit.passwords import password

MARK = "lab.labkit.dev/lab"
COMPONENT = "lab.labkit.dev/component"
APPLIED = "lab.labkit.dev/applied"


def mark(lab: Lab) -> str:
    """This lab's mark: made once, another one for each lab."""
    return password(lab, "mark", lambda: secrets.token_hex(8))


def selector(lab: Lab) -> str:
    """Selects what this lab has installed."""
    return f"{MARK}={mark(lab)}"


def marked(lab: Lab, component: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the lab's mark, and a digest of what was asked for: only what changes is applied again."""
    metadata = manifest["metadata"]
    return {
        **manifest,
        "metadata": {
            **metadata,
            "labels": {**(metadata.get("labels") or {}), MARK: mark(lab), COMPONENT: component},
            "annotations": {**(metadata.get("annotations") or {}), APPLIED: _digest(manifest)},
        },
    }


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, default=str).encode()).hexdigest()


def applied(manifest: dict[str, Any] | None) -> str:
    """The digest on an object; empty where there is none."""
    return str(((manifest or {}).get("metadata", {}).get("annotations") or {}).get(APPLIED, ""))


def is_marked(lab: Lab, manifest: dict[str, Any]) -> bool:
    """Whether an object is this lab's."""
    return bool((manifest["metadata"].get("labels") or {}).get(MARK) == mark(lab))
