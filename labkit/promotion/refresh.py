"""Kargo looks at its resources when something changes, else every few minutes: this asks it to look now."""

from __future__ import annotations

from datetime import UTC, datetime

from labkit.clusters import kube
from labkit.config import PROJECT, Lab
from labkit.services.kargo import KARGO_API

REFRESH = "kargo.akuity.io/refresh"


def refresh(lab: Lab, kind: str, name: str, *, project: str = PROJECT) -> None:
    """Annotate a Warehouse, Stage or Promotion so that Kargo reconciles it now.

    Source: the annotation `kargo.akuity.io/refresh` of Kargo's API.
    """
    now = datetime.now(UTC).isoformat()
    kube(lab, lab.control).patch(KARGO_API, kind, name, {"metadata": {"annotations": {REFRESH: now}}}, project)
