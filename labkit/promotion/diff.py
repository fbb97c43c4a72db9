"""Differences: what a Freight would change in a Stage's cluster, and how the source of two Freights differs."""

from __future__ import annotations

import difflib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from rich.text import Text

from labkit.clusters import kube
from labkit.config import APPLICATION, GITOPS_REPO, NAMESPACE, PROJECT, SOURCE_REPO, Environment, Lab
from labkit.delivery.git import working_copy
from labkit.errors import LabError, UsageError
from labkit.process import run
from labkit.progress import step
from labkit.promotion.freight import REVISION, Freight, find_freight, versions_of
from labkit.promotion.promotion import freight_to_promote
from labkit.services.kargo import KARGO_API
from labkit.tables import as_text
from labkit.templates import read_manifests

ARGOCD_MANAGER = "argocd-controller"
_COLOURS = {"+": "green", "-": "red", "@": "blue"}
_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


@dataclass(frozen=True)
class Change:
    """What would become of one object.

    Attributes:
        kind: Its kind.
        name: Its name.
        action: `create` or `change`.
        lines: A unified diff of its YAML.
    """

    kind: str
    name: str
    action: str
    lines: tuple[str, ...]


class _Lines:
    """Shows the lines of a diff, in a terminal and in a notebook."""

    def _lines(self) -> list[str]:
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def __rich__(self) -> Text:
        return Text("\n").join(Text(line, style=_COLOURS.get(line[:1], "")) for line in self._lines())

    def _repr_html_(self) -> str:
        shown = "\n".join(
            f"<span style='color:{_COLOURS.get(line[:1], 'inherit')}'>{html.escape(line)}</span>"
            for line in self._lines()
        )
        return f"<pre style='overflow-x:auto;white-space:pre;font-family:monospace;font-size:90%'>{shown}</pre>"


@dataclass(frozen=True, repr=False)
class Diff(_Lines):
    """What a Freight would change in a Stage's cluster.

    Attributes:
        stage: The Stage.
        freight: Alias of the Freight.
        versions: Its image tag of each tier.
        changes: The objects that would be created or changed.
        unchanged: How many objects would stay as they are.
    """

    stage: str
    freight: str
    versions: Mapping[str, str]
    changes: tuple[Change, ...]
    unchanged: int

    @property
    def summary(self) -> str:
        """One line."""
        versions = as_text(self.versions)
        objects = "1 object" if len(self.changes) == 1 else f"{len(self.changes)} objects"
        return (
            f"Freight {self.freight} ({versions}) in {self.stage}: "
            f"{objects} would change, {self.unchanged} stay as they are"
        )

    def as_json(self) -> dict[str, Any]:
        """The diff as plain values."""
        return {
            "stage": self.stage,
            "freight": self.freight,
            "versions": dict(self.versions),
            "changes": [
                {"kind": item.kind, "name": item.name, "action": item.action, "diff": "\n".join(item.lines)}
                for item in self.changes
            ],
            "unchanged": self.unchanged,
        }

    def _lines(self) -> list[str]:
        lines = [self.summary]
        for change in self.changes:
            lines += ["", f"{change.action} {change.kind} {change.name}", *change.lines]
        return lines


@dataclass(frozen=True, repr=False)
class SourceDiff(_Lines):
    """How the source of a tier differs between two Freights.

    Attributes:
        tier: The tier.
        before: Alias of the one Freight.
        after: Alias of the other.
        versions: The tier's versions in them.
        commits: The commits that its images were built from.
        lines: A unified diff; none where both were built from the same source.
    """

    tier: str
    before: str
    after: str
    versions: tuple[str, str]
    commits: tuple[str, str]
    lines: tuple[str, ...]

    def _lines(self) -> list[str]:
        first, second = self.versions
        one, other = (commit[:7] for commit in self.commits)
        head = f"{self.tier} {first} (Freight {self.before}, commit {one}) → {second} (Freight {self.after}, {other})"
        return [head, *self.lines]


def promotion_diff(lab: Lab, source: str, target: str, *, freight: str = "") -> Diff:
    """What promoting from one Stage to another would change in the live cluster; nothing is changed.

    The target's overlay is rendered as a Promotion would render it, and each object is applied to the cluster by a
    dry run of the API server, so that defaults and other owners' fields do not show as differences.

    Args:
        lab: The lab.
        source: The Stage whose Freight would be promoted.
        target: The Stage that would take it.
        freight: Alias or name of another Freight than what runs in `source`.

    Raises:
        UsageError: `target` does not take Freight from `source`, or there is no such Freight.
    """
    chosen = find_freight(lab, freight) if freight else freight_to_promote(lab, source, target)
    environment = lab.environment(target)
    api = kube(lab, environment)
    changes, unchanged = [], 0
    with step(f"Render Freight {chosen.alias} for {target}, and ask its API server what would change", expect=2):
        for manifest in _rendered(lab, environment, chosen):
            metadata = manifest["metadata"]
            live = api.get(manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace"))
            (wanted,) = api.apply(manifest, field_manager=ARGOCD_MANAGER, dry_run=True)
            lines = _difference(live, wanted)
            if lines:
                changes.append(Change(manifest["kind"], metadata["name"], "change" if live else "create", lines))
            else:
                unchanged += 1
    return Diff(target, chosen.alias, chosen.versions, tuple(changes), unchanged)


def source_diff(lab: Lab, before: str, after: str, *, tier: str) -> SourceDiff:
    """How the source of a tier differs between two Freights, by the commits that their images were built from.

    Args:
        lab: The lab.
        before: Alias or name of the one Freight.
        after: Alias or name of the other.
        tier: The tier.

    Raises:
        UsageError: There is no such tier, or no such Freight.
        LabError: An image does not say which commit it was built from.
    """
    if tier not in lab.tiers:
        raise UsageError(f"There is no tier {tier!r}", todo=f"use one of: {', '.join(lab.tiers)}")
    one, other = find_freight(lab, before), find_freight(lab, after)
    commits = (_revision(lab, one, tier), _revision(lab, other, tier))
    lines = working_copy(lab, SOURCE_REPO, "viewer").git("diff", *commits, "--", tier).splitlines()
    return SourceDiff(tier, one.alias, other.alias, (one.versions[tier], other.versions[tier]), commits, tuple(lines))


def _revision(lab: Lab, freight: Freight, tier: str) -> str:
    manifest = kube(lab, lab.control).need(KARGO_API, "Freight", freight.name, PROJECT)
    for image in manifest.get("images") or []:
        revision = (image.get("annotations") or {}).get(REVISION, "")
        if tier in versions_of([image]) and revision:
            return str(revision)
    raise LabError(f"The image of {tier} in Freight {freight.alias} does not say which commit it was built from")


def _rendered(lab: Lab, environment: Environment, freight: Freight) -> list[dict[str, Any]]:
    copy = working_copy(lab, GITOPS_REPO, "viewer")
    file = copy.folder / "overlays" / environment.name / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization["images"] = [
        {"name": lab.image(tier), "newTag": version} for tier, version in freight.versions.items()
    ]
    file.write_text(yaml.safe_dump(kustomization, sort_keys=False))
    rendered = copy.folder / "rendered.yaml"
    rendered.write_text(run([lab.home.bin / "kustomize", "build", file.parent]))
    return [_tracked(manifest) for manifest in read_manifests(rendered)]


def _tracked(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as Argo CD applies it: with the annotation by which it knows its own.

    Source: resource tracking by annotation, the default of Argo CD v3.
    """
    group = manifest["apiVersion"].rpartition("/")[0]
    metadata = manifest["metadata"]
    where = f"{group}/{manifest['kind']}:{metadata.get('namespace', NAMESPACE)}/{metadata['name']}"
    annotations = {**metadata.get("annotations", {}), "argocd.argoproj.io/tracking-id": f"{APPLICATION}:{where}"}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _difference(live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = _yaml(live) if live else [], _yaml(wanted)
    return tuple(list(difflib.unified_diff(before, after, lineterm="", n=3))[2:])


def _yaml(manifest: Mapping[str, Any]) -> list[str]:
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _SERVERS_OWN}
    shown = {**manifest, "metadata": metadata}
    shown.pop("status", None)
    return yaml.safe_dump(shown, sort_keys=True).splitlines()
