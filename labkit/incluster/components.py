"""What is installed, and into which cluster: read from `data/incluster`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from labkit.config import Environment, Lab
from labkit.errors import UsageError
from labkit.paths import DATA
from labkit.templates import render
from labkit.toolchain import load_catalogue
from labkit.toolchain.catalogue import Source


@dataclass(frozen=True)
class Installation:
    """One thing that is installed into one cluster.

    Attributes:
        component: The project that it is of; what `--without` names.
        release: Its name among what is installed there.
        environment: The environment whose cluster it goes into.
        namespace: Where its objects live.
        source: The upstream files that it is rendered from, as `data/tools.yaml` names them; empty for the lab's own.
        kind: `chart`, `overlay` or `manifests`.
        file: The values, the folder of the kustomization, or the manifests, below `data/incluster`.
        version: Of the component.
        placeholder: Whether upstream's release process writes the version into the chart.
        shard: The environment that it serves, where that is another one's.
    """

    component: str
    release: str
    environment: Environment
    namespace: str
    source: str
    kind: str
    file: str
    version: str
    placeholder: bool = False
    shard: str = ""


@cache
def rules() -> dict[str, Any]:
    """What a cluster must be like, and what is whose in it (`data/incluster/rules.yaml`)."""
    data: dict[str, Any] = yaml.safe_load((DATA / "incluster" / "rules.yaml").read_text())
    return data


@cache
def _sources() -> Mapping[str, Source]:
    return load_catalogue().sources


def installations(lab: Lab, *, left_out: bool = False) -> tuple[Installation, ...]:
    """Everything that is installed, in its order.

    Args:
        lab: The lab.
        left_out: With what the lab was created without.

    Raises:
        UsageError: The lab was created without something that cannot be left out, or that is unknown.
    """
    optional = tuple(rules()["components"])
    unknown = [name for name in lab.settings.without if name not in optional]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} cannot be left out", todo=f"leave out some of: {', '.join(optional)}")
    text = render(
        "incluster/components.yaml",
        control=lab.control.name,
        environments=[item.name for item in lab.environments],
        shards=[item.name for item in lab.environments if item != lab.control],
    )
    rows = tuple(_installation(lab, entry) for entry in yaml.safe_load(text))
    return tuple(row for row in rows if left_out or row.component not in lab.settings.without)


def _installation(lab: Lab, entry: dict[str, Any]) -> Installation:
    kind = next(kind for kind in ("chart", "overlay", "manifests") if kind in entry)
    source = "" if kind == "manifests" else entry[kind]
    file = {"chart": "values", "overlay": "folder", "manifests": "manifests"}[kind]
    return Installation(
        component=entry["component"],
        release=entry.get("release", entry["component"]),
        environment=lab.environment(entry["cluster"]),
        namespace=entry["namespace"],
        source=source,
        kind=kind,
        file=entry[file],
        version=_sources()[source].version if source else "",
        placeholder=entry.get("placeholder", False),
        shard=entry.get("shard", ""),
    )
