"""Manifests of what is installed: charts rendered by helm, official manifests by kustomize, with the lab's values."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from labkit.config import NAMESPACE, PROJECT, Lab
from labkit.incluster.components import Installation
from labkit.paths import DATA
from labkit.process import run
from labkit.templates import manifests, parsed_manifests, render
from labkit.toolchain import Toolset, load_catalogue

_SECONDS = 120
GITEA_ADMIN = "gitea-admin"


def rendered(lab: Lab, tools: Toolset, item: Installation, kubernetes: str, folder: Path) -> list[dict[str, Any]]:
    """The objects of one installation, as upstream and the lab's values make them.

    Args:
        lab: The lab.
        tools: helm, kustomize and the upstream files.
        item: What is installed.
        kubernetes: The version of the cluster that it is for, such as `v1.36.1`.
        folder: For what is made on the way; charts that are packed stay in it for the next installation.

    Raises:
        LabError: helm or kustomize refused; says what they said.
    """
    values = _values(lab, item)
    if item.kind == "manifests":
        return manifests(f"incluster/{item.file}", **values)
    make = _from_chart if item.kind == "chart" else _from_overlay
    return parsed_manifests(make(tools, item, folder, values, kubernetes))


def _values(lab: Lab, item: Installation) -> dict[str, Any]:
    return {
        "version": item.version,
        "namespace": item.namespace,
        "environment": item.environment.name,
        "full": item.environment.observability == "full",
        "control": lab.control.name,
        "shard": item.shard,
        "shards": [other.name for other in lab.environments if other != lab.control],
        "people": list(lab.people),
        "project": PROJECT,
        "workload_namespace": NAMESPACE,
        "account": GITEA_ADMIN,
        "gitea_version": load_catalogue().programs["gitea"].version,
    }


def _from_chart(tools: Toolset, item: Installation, folder: Path, values: dict[str, Any], kubernetes: str) -> str:
    chart = tools.folder(item.source)
    # Nothing that helm keeps on this machine is the lab's, nor is the lab's business.
    own = {f"HELM_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    helm = tools.path("helm")
    if item.placeholder:
        chart = _packed(helm, chart, item, folder, own)
    file = folder / "values.yaml"
    file.write_text(render(f"incluster/{item.file}", **values))
    return run(
        [
            *(helm, "template", item.release, chart, "--namespace", item.namespace, "--values", file),
            *("--include-crds", "--no-hooks", "--kube-version", kubernetes),
        ],
        env=own,
        timeout=_SECONDS,
    )


def _packed(helm: Path, chart: Path, item: Installation, folder: Path, own: dict[str, str]) -> Path:
    """The chart as upstream releases it: with its version."""
    place = folder / item.source
    if not place.exists():
        versions = ("--version", item.version, "--app-version", f"v{item.version}")
        run([helm, "package", chart, *versions, "--destination", place], env=own, timeout=_SECONDS)
    return next(place.glob("*.tgz"))


def _from_overlay(tools: Toolset, item: Installation, below: Path, values: dict[str, Any], _: str) -> str:
    folder = below / f"{item.release}-{item.environment.name}"
    folder.mkdir()
    for file in tools.folder(item.source).glob("*.yaml"):
        shutil.copyfile(file, folder / file.name)
    for file in (DATA / "incluster" / item.file).glob("*.yaml"):
        name = file.relative_to(DATA).as_posix()
        if file.stem == "shard":
            for shard in values["shards"]:
                (folder / f"shard-{shard}.yaml").write_text(render(name, **{**values, "shard": shard}))
        else:
            (folder / file.name).write_text(render(name, **values))
    return run([tools.path("kustomize"), "build", folder], timeout=_SECONDS)
