"""Stages: what each environment runs, how healthy it is, and whether it is verified."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.clusters import kube
from labkit.config import PROJECT, Lab
from labkit.errors import UsageError
from labkit.kube import conditions
from labkit.promotion.freight import Freight, find_freight, freight_aliases, versions_of
from labkit.promotion.refresh import refresh
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table
from labkit.wait import wait_for

_PATIENCE_SECONDS = 5


@dataclass(frozen=True, repr=False)
class Stage(Record):
    """One Stage, as Kargo describes it.

    Attributes:
        stage: Its name.
        project: Its Project (a namespace).
        control_flow: Whether it has no promotion steps: it runs nothing, and passes Freight on by itself.
        takes_from: Upstream Stages, or the Warehouse where it takes Freight directly.
        freight: Alias of the Freight it runs.
        freight_name: Name of that Freight.
        versions: Image tag of each tier.
        health: Kargo's word for its health.
        applications: Argo CD's word for the health of each Application that Kargo looked at.
        verified: `True`, `False` or `Unknown`: whether that Freight passed its verification here.
        auto_promotion: Whether new Freight is promoted to it automatically.
        held: Whether automatic promotion is held since older Freight was promoted to it by hand.
        last_promotion: Name of its last Promotion.
        promoting: Name of the Promotion under way, if any.
    """

    stage: str
    project: str
    control_flow: bool
    takes_from: tuple[str, ...]
    freight: str
    freight_name: str
    versions: Mapping[str, str]
    health: str
    applications: tuple[str, ...]
    verified: str
    auto_promotion: bool
    held: bool
    last_promotion: str
    promoting: str

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], aliases: Mapping[str, str]) -> Stage:
        """A Stage as the API server has it.

        Source: CustomResourceDefinition `stages.kargo.akuity.io` of Kargo v1.11.2.

        Args:
            manifest: The object.
            aliases: Alias of each Freight by its name.
        """
        status = manifest.get("status") or {}
        freight, images = _current_images(status)
        return cls(
            stage=manifest["metadata"]["name"],
            project=manifest["metadata"]["namespace"],
            control_flow=not _steps(manifest["spec"]),
            takes_from=_takes_from(manifest["spec"]),
            freight=aliases.get(freight, ""),
            freight_name=freight,
            versions=versions_of(images),
            health=(status.get("health") or {}).get("status", "Unknown"),
            applications=_application_health(status),
            verified=conditions(manifest).get("Verified", "Unknown"),
            auto_promotion=bool(status.get("autoPromotionEnabled")),
            held=bool(status.get("autoPromotionHolds")),
            last_promotion=(status.get("lastPromotion") or {}).get("name", ""),
            promoting=(status.get("currentPromotion") or {}).get("name", ""),
        )


class StageTable(Table[Stage]):
    """Stages in the order in which Freight passes them."""

    title = "Stages"
    columns = (
        "stage",
        "takes_from",
        "freight",
        "versions",
        "health",
        "verified",
        "auto_promotion",
        "held",
        "promoting",
    )


def _application_health(status: Mapping[str, Any]) -> tuple[str, ...]:
    output = (status.get("health") or {}).get("output") or []
    seen = [application for check in output for application in check.get("applicationStatuses") or []]
    return tuple((application.get("health") or {}).get("status", "Unknown") for application in seen)


def _steps(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    template = (spec.get("promotionTemplate") or {}).get("spec") or {}
    return template.get("steps") or []


def _takes_from(spec: Mapping[str, Any]) -> tuple[str, ...]:
    sources: list[str] = []
    for request in spec.get("requestedFreight") or []:
        if request["sources"].get("direct"):
            sources.append(f"{request['origin']['kind']} {request['origin']['name']}")
        sources.extend(request["sources"].get("stages") or [])
    return tuple(sources)


def _current_images(status: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]]]:
    history = status.get("freightHistory") or []
    items = list((history[0].get("items") or {}).values()) if history else []
    return (items[0]["name"], items[0].get("images") or []) if items else ("", [])


def stage_table(lab: Lab, *, all_namespaces: bool = False) -> StageTable:
    """The Stages of the lab's Project, or of all Projects."""
    found = kube(lab, lab.control).list(KARGO_API, "Stage", None if all_namespaces else PROJECT)
    aliases = {
        project: freight_aliases(lab, project=project) for project in {item["metadata"]["namespace"] for item in found}
    }
    rows = [Stage.from_manifest(item, aliases[item["metadata"]["namespace"]]) for item in found]
    order = {environment.name: environment.index for environment in lab.environments}
    return StageTable(tuple(sorted(rows, key=lambda row: (row.project, order.get(row.stage, 99), row.stage))))


def _failed_verification(manifest: Mapping[str, Any], freight_name: str) -> str:
    """Why a Freight failed its verification when it last came to a Stage; empty where it did not."""
    status = manifest.get("status") or {}
    last = status.get("lastPromotion") or {}
    for collection in status.get("freightHistory") or []:
        if freight_name not in [item["name"] for item in (collection.get("items") or {}).values()]:
            continue
        newest: Mapping[str, str] = next(iter(collection.get("verificationHistory") or []), {})
        # What was measured before the Freight came back says nothing about now.
        returned = (last.get("freight") or {}).get("name") == freight_name
        if newest.get("phase") in ("Failed", "Error") and not (
            returned and newest.get("startTime", "") < last.get("finishedAt", "")
        ):
            return f"verification {newest['phase']}: {newest.get('message', '')}"
        return ""
    return ""


def find_stage(lab: Lab, name: str) -> Stage:
    """One of the lab's Stages.

    Raises:
        UsageError: There is none of that name.
    """
    project = lab.project_of(name)
    found = kube(lab, lab.control).get(KARGO_API, "Stage", name, project)
    if found is None:
        known = ", ".join(row.stage for row in stage_table(lab, all_namespaces=True))
        raise UsageError(f"There is no Stage {name!r}", todo=f"use one of: {known or 'none yet'}")
    return Stage.from_manifest(found, freight_aliases(lab, project=project))


def _is_coming(lab: Lab, stage: Stage, freight: Freight) -> bool:
    """Whether there is a Promotion of a Freight that its Stage has not taken note of yet."""
    # A Promotion is over a moment before the Stage's status says so. Their names sort by time.
    return any(
        promotion["spec"]["stage"] == stage.stage
        and promotion["spec"]["freight"] == freight.name
        and promotion["metadata"]["name"] > stage.last_promotion
        for promotion in kube(lab, lab.control).list(KARGO_API, "Promotion", stage.project)
    )


def wait_for_stage(lab: Lab, name: str, freight: Freight, *, timeout: float | None = None) -> Stage:
    """Wait until this Freight is verified in a Stage; at once, where the Stage has moved on since.

    Args:
        lab: The lab.
        name: The Stage.
        freight: The Freight.
        timeout: Seconds to wait; the lab's limit for a Promotion where none is given.

    Raises:
        LabError: Its verification failed; says what Kargo says of it.
    """
    before = find_stage(lab, name)
    was_verified = name in find_freight(lab, freight.name, project=before.project).verified_in
    if was_verified and before.freight_name != freight.name and not _is_coming(lab, before, freight):
        return before
    looked = time.monotonic()

    def look() -> tuple[Stage, str]:
        nonlocal looked
        # Kargo may miss that its AnalysisRun is done, and would find out minutes later.
        if time.monotonic() - looked > _PATIENCE_SECONDS:
            refresh(lab, "Stage", name, project=before.project)
            looked = time.monotonic()
        # One reading for both: what it runs and how it was verified belong to one moment.
        manifest = kube(lab, lab.control).need(KARGO_API, "Stage", name, before.project)
        now = Stage.from_manifest(manifest, freight_aliases(lab, project=before.project))
        # What it failed at before is not held against a Freight that is on its way back.
        coming = _is_coming(lab, now, freight)
        return now, "" if coming else _failed_verification(manifest, freight.name)

    stage, _ = wait_for(
        f"Stage {name} to run Freight {freight.alias}, healthy and verified",
        look,
        lambda seen: (
            seen[0].freight_name == freight.name
            and seen[0].health == "Healthy"
            and seen[0].verified == "True"
            and not seen[0].promoting
        ),
        failed=lambda seen: bool(seen[1]),
        describe=lambda seen: (
            seen[1] or f"Freight {seen[0].freight or 'none'}, {seen[0].health}, verified {seen[0].verified}"
        ),
        timeout=timeout or lab.limits.promotion_seconds,
        todo=f"`kubectl --context {lab.control.context} -n {before.project} describe stage {name}`",
    )
    return stage
