"""Freight: one set of image versions that moves through the Stages together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labkit.clusters import kube
from labkit.config import PROJECT, WAREHOUSE, Lab
from labkit.errors import LabError, UsageError
from labkit.promotion.refresh import refresh
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table
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
        revision: The commit its images were built from, where they say so.
        in_stages: Stages that run it now.
        verified_in: Stages where its verification passed.
        approved_for: Stages it was approved for by hand.
        created: When the Warehouse found it.
    """

    alias: str
    name: str
    versions: Mapping[str, str]
    revision: str
    in_stages: tuple[str, ...]
    verified_in: tuple[str, ...]
    approved_for: tuple[str, ...]
    created: datetime

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Freight:
        """A Freight as the API server has it.

        Source: CustomResourceDefinition `freights.kargo.akuity.io` of Kargo v1.11.2.
        """
        status = manifest.get("status") or {}
        images = manifest.get("images") or []
        revisions = {(image.get("annotations") or {}).get(REVISION, "") for image in images}
        return cls(
            alias=manifest.get("alias", ""),
            name=manifest["metadata"]["name"],
            versions=versions_of(images),
            revision=revisions.pop() if len(revisions) == 1 else "",
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


def time_of(text: str) -> datetime:
    """A time as Kubernetes writes it (RFC 3339)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def freight_table(lab: Lab) -> FreightTable:
    """All Freight of the lab's Project, newest first."""
    found = [Freight.from_manifest(item) for item in kube(lab, lab.control).list(KARGO_API, "Freight", PROJECT)]
    return FreightTable(tuple(sorted(found, key=lambda freight: freight.created, reverse=True)))


def freight_aliases(lab: Lab) -> dict[str, str]:
    """The alias of each Freight, by its name."""
    return {freight.name: freight.alias for freight in freight_table(lab)}


def find_freight(lab: Lab, wanted: str) -> Freight:
    """The Freight of that alias or name (a name may be shortened).

    Raises:
        UsageError: There is none, or more than one.
    """
    table = freight_table(lab)
    found = [item for item in table if wanted == item.alias or (wanted and item.name.startswith(wanted))]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'No'} Freight is called {wanted!r}",
            todo=f"use one of: {', '.join(item.alias for item in table)}",
        )
    return found[0]


def wait_for_freight(lab: Lab, versions: Mapping[str, str], *, timeout: float = 60) -> Freight:
    """Wait until the Warehouse has made Freight of these versions, asking it to look now.

    Args:
        lab: The lab.
        versions: Image tag of each tier.
        timeout: Seconds to wait.
    """

    def matching() -> Freight | None:
        return next((item for item in freight_table(lab) if item.versions == versions), None)

    found = matching()
    if found is None:
        refresh_warehouse(lab)
        found = wait_for(
            f"Freight of {', '.join(f'{tier} {version}' for tier, version in versions.items())}",
            matching,
            timeout=timeout,
            todo=f"`kubectl --context {lab.control.context} -n {PROJECT} describe warehouse {WAREHOUSE}`",
        )
    if found is None:
        raise LabError("The Warehouse made no Freight")
    return found


def refresh_warehouse(lab: Lab) -> None:
    """Ask the Warehouse to look for new images now, as a registry's webhook would."""
    refresh(lab, "Warehouse", WAREHOUSE)
