"""Freight: one set of image versions that moves through the Stages together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labkit.clusters import kube
from labkit.config import PROJECT, Lab
from labkit.delivery.oci import Registry
from labkit.errors import LabError, UsageError
from labkit.promotion.refresh import refresh
from labkit.rules import rules
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table, as_text
from labkit.wait import wait_for

# The annotation by which an image says what it was built from.
REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True, repr=False)
class Freight(Record):
    """One Freight, as Kargo describes it.

    Attributes:
        alias: The name that people use.
        name: The hash over its origin and images.
        versions: Image tag of each tier.
        revisions: The commit that each tier's image was built from, where it says so.
        in_stages: Stages that run it now.
        verified_in: Stages where its verification passed.
        approved_for: Stages it was approved for by hand.
        created: When the Warehouse found it.
    """

    alias: str
    name: str
    versions: Mapping[str, str]
    revisions: Mapping[str, str]
    in_stages: tuple[str, ...]
    verified_in: tuple[str, ...]
    approved_for: tuple[str, ...]
    created: datetime

    @property
    def revision(self) -> str:
        """The commit that all of its images were built from; empty where they come from several."""
        found = set(self.revisions.values())
        return found.pop() if len(found) == 1 else ""

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Freight:
        """A Freight as the API server has it.

        Source: CustomResourceDefinition `freights.kargo.akuity.io` of Kargo v1.11.2.
        """
        status = manifest.get("status") or {}
        images = manifest.get("images") or []
        return cls(
            alias=manifest.get("alias", ""),
            name=manifest["metadata"]["name"],
            versions=versions_of(images),
            revisions=_revisions_of(images),
            in_stages=tuple(sorted(status.get("currentlyIn") or {})),
            verified_in=tuple(sorted(status.get("verifiedIn") or {})),
            approved_for=tuple(sorted(status.get("approvedFor") or {})),
            created=time_of(manifest["metadata"]["creationTimestamp"]),
        )


class FreightTable(Table[Freight]):
    """The Freight of the lab's Project, newest first."""

    title = "Freight"
    columns = ("alias", "versions", "in_stages", "verified_in", "approved_for", "created", "name")


def versions_of(images: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Image tags by tier: the last part of an image's repository is the tier's name.

    An image that was chosen by its digest alone has that in place of the tag.
    """
    return {image["repoURL"].rpartition("/")[2]: image.get("tag") or image.get("digest", "") for image in images}


def _revisions_of(images: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found = {image["repoURL"].rpartition("/")[2]: (image.get("annotations") or {}).get(REVISION) for image in images}
    return {tier: revision for tier, revision in found.items() if revision}


def time_of(text: str) -> datetime:
    """A time as Kubernetes writes it (RFC 3339)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def freight_table(lab: Lab, *, project: str = PROJECT) -> FreightTable:
    """All Freight of a Project, newest first."""
    found = [Freight.from_manifest(item) for item in kube(lab, lab.control).list(KARGO_API, "Freight", project)]
    return FreightTable(tuple(sorted(found, key=lambda freight: freight.created, reverse=True)))


def freight_aliases(lab: Lab, *, project: str = PROJECT) -> dict[str, str]:
    """The alias of each Freight of a Project, by its name."""
    return {freight.name: freight.alias for freight in freight_table(lab, project=project)}


def find_freight(lab: Lab, wanted: str, *, project: str = PROJECT) -> Freight:
    """The Freight of that alias or name (a name may be shortened).

    Raises:
        UsageError: There is none, or more than one.
    """
    table = freight_table(lab, project=project)
    found = [item for item in table if wanted == item.alias or (wanted and item.name.startswith(wanted))]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'No'} Freight is called {wanted!r}",
            todo=f"use one of: {', '.join(item.alias for item in table)}",
        )
    return found[0]


def wait_for_freight(lab: Lab, versions: Mapping[str, str], *, project: str = PROJECT, timeout: float = 60) -> Freight:
    """Wait until the Warehouse has made Freight of these versions, asking it to look now.

    Args:
        lab: The lab.
        versions: Image tag of each tier.
        project: The Project, whose Warehouse is called like it.
        timeout: Seconds to wait.
    """

    def matching() -> Freight | None:
        return next((item for item in freight_table(lab, project=project) if item.versions == versions), None)

    found = matching()
    if found is None:
        refresh_warehouse(lab, project=project)
        found = wait_for(
            f"Freight of {as_text(versions)}",
            matching,
            timeout=timeout,
            todo=f"`kubectl --context {lab.control.context} -n {project} describe warehouse {project}`",
        )
    if found is None:
        raise LabError("The Warehouse made no Freight")
    return found


def create_freight(lab: Lab, base: Freight, changed: Mapping[str, str], *, as_user: str = "") -> Freight:
    """Make Freight by hand: what another one holds, but for some tiers.

    Args:
        lab: The lab.
        base: The Freight that it is taken from.
        changed: The image tags of the tiers that are to be others, by tier.
        as_user: Who makes it (Kubernetes impersonation); the lab's approver where nobody is named.

    Returns:
        The Freight; the one that is there already, where somebody has made it before.

    Raises:
        LabError: There is no such image, or Kargo refused.
    """
    versions = {**base.versions, **changed}
    for freight in freight_table(lab):
        if freight.versions == versions:
            return freight
    manifest = kube(lab, lab.control).need(KARGO_API, "Freight", base.name, PROJECT)
    made = kube(lab, lab.control, as_user=as_user or rules().approver).create(
        {
            "apiVersion": KARGO_API,
            "kind": "Freight",
            # Kargo's admission replaces it by the hash of the content.
            "metadata": {"generateName": "by-hand-", "namespace": PROJECT},
            "origin": manifest["origin"],
            "images": [
                _image(lab, image, changed.get(image["repoURL"].rpartition("/")[2])) for image in manifest["images"]
            ],
        }
    )
    return Freight.from_manifest(made)


def _image(lab: Lab, image: Mapping[str, Any], tag: str | None) -> dict[str, Any]:
    if tag is None:
        return dict(image)
    host, _, repository = image["repoURL"].partition("/")
    found = Registry(host).find(repository, tag)
    if found is None:
        raise LabError(f"There is no image {image['repoURL']}:{tag}", todo="have CI build it: `labkit logs ci`")
    return {"repoURL": image["repoURL"], "tag": tag, "digest": found.digest, "annotations": dict(found.labels)}


def refresh_warehouse(lab: Lab, *, project: str = PROJECT) -> None:
    """Ask a Project's Warehouse to look for new images now, as a registry's webhook would."""
    refresh(lab, "Warehouse", project, project=project)


def verified_at(lab: Lab, freight: Freight, stage: str, *, project: str = PROJECT) -> datetime | None:
    """When a Freight was last found good in a Stage; nothing where it was not.

    Source: `status.verifiedIn` of Kargo v1.11.2's Freight.
    """
    status = kube(lab, lab.control).need(KARGO_API, "Freight", freight.name, project).get("status") or {}
    found = (status.get("verifiedIn") or {}).get(stage) or {}
    return time_of(found["verifiedAt"]) if found.get("verifiedAt") else None
