"""A pipeline as it could be: what the lab's dataclasses say of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from labkit.config import load_lab
from labkit.observability.events import ARGOCD, KARGO, ROLLOUTS, Event
from labkit.pipeline import Pipeline, pipeline_of
from labkit.promotion import (
    Freeze,
    Freight,
    FreightTable,
    GateState,
    GateTable,
    Promotion,
    Stage,
    Validation,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
VERSIONS = {
    "new": {"frontend": "1.0.0", "backend": "2.1.0", "database": "1.5.0"},
    "middle": {"frontend": "0.9.5", "backend": "2.0.8", "database": "1.4.9"},
    "old": {"frontend": "0.9.0", "backend": "2.0.5", "database": "1.4.7"},
}
ALIASES = {"new": "wintry-otter", "middle": "eager-heron", "old": "calm-badger"}
UPSTREAM = {
    "dev": ("Warehouse demo-app",),
    "pre": ("dev", "hotfix"),
    "prod": ("pre",),
    "hotfix": ("Warehouse demo-app",),
    "preview": ("Warehouse demo-app-preview",),
}


def stage(name, runs="", **changed):
    values = {
        "stage": name,
        "project": "demo-app-preview" if name == "preview" else "demo-app",
        "control_flow": False,
        "takes_from": UPSTREAM[name],
        "freight": ALIASES.get(runs, ""),
        "freight_name": runs,
        "versions": VERSIONS.get(runs, {}),
        "health": "Healthy" if runs else "Unknown",
        "applications": ("Healthy",) if runs else (),
        "verified": "True" if runs else "Unknown",
        "auto_promotion": name in ("dev", "preview"),
        "held": False,
        "last_promotion": "",
        "promoting": "",
    }
    return Stage(**{**values, **changed})


def freight(name, *verified_in):
    return Freight(
        alias=ALIASES[name],
        name=name,
        versions=VERSIONS[name],
        revisions={},
        in_stages=(),
        verified_in=verified_in,
        approved_for=(),
        created=NOW - timedelta(hours=1),
    )


FREIGHT = FreightTable(
    (freight("new", "dev"), freight("middle", "dev", "pre"), freight("old", "dev", "pre", "prod")),
)


def promotion(name, stage, freight, phase="Succeeded", **changed):
    values = {
        "promotion": name,
        "stage": stage,
        "freight": ALIASES[freight],
        "freight_name": freight,
        "phase": phase,
        "step": "argocd-update",
        "message": "",
        "actor": "kubernetes:developer",
        "requester": "developer",
        "reason": "",
        "emergency": "",
        "rolled_back_from": "",
        "commit": "",
        "opens_pull_request": stage == "prod",
        "pull_request": 0,
        "created": NOW - timedelta(minutes=12),
        "seconds": 12.0 if phase in ("Succeeded", "Failed", "Errored", "Aborted") else None,
    }
    return Promotion(**{**values, **changed})


WAITING = promotion("prod.1", "prod", "middle", "Running", step="wait-for-pr", pull_request=3)


def gates(validated="success", approved="pending"):
    return GateTable(
        (
            GateState("gate/validated", validated, "qa", "it works in pre"),
            GateState("gate/approved", approved, "", "release-manager has not approved it"),
        )
    )


def freeze(name, frozen=False):
    return Freeze(name, frozen, NOW + timedelta(hours=1) if frozen else None, "release-manager", "inventory", ())


SEED = (stage("dev", "new"), stage("pre", "middle"), stage("prod", "old"), stage("hotfix"), stage("preview"))
DONE = (
    promotion("dev.1", "dev", "new", requester=""),
    promotion("pre.1", "pre", "middle"),
    promotion("prod.0", "prod", "old"),
)


def pipeline(*stages, lab=None, promotions=DONE, frozen=(), waiting_gates=None, validations=None) -> Pipeline:
    """The seed's pipeline, with these Stages in the place of its own."""
    given = {row.stage: row for row in stages}
    return pipeline_of(
        lab or load_lab(),
        [given.get(row.stage, row) for row in SEED],
        FREIGHT,
        promotions,
        freezes=[freeze(name, name in frozen) for name in ("dev", "pre", "prod")],
        gates={WAITING.promotion: waiting_gates} if waiting_gates else {},
        automatic={"dev", "preview"},
        validations=validations,
        at=NOW,
    )


def with_another(name, **changed) -> Pipeline:
    """The seed's pipeline, and a Stage that somebody has made by hand behind dev."""
    other = replace(stage("hotfix", **changed), stage=name, takes_from=("dev",))
    return pipeline_of(load_lab(), [*SEED, other], FREIGHT, DONE, at=NOW)


def validation(state="success"):
    return Validation("pre", "middle", state, "qa", "it works", "abc", NOW)


EVENTS = (
    Event(
        NOW - timedelta(minutes=12),
        NOW - timedelta(minutes=11, seconds=48),
        KARGO,
        "dev",
        "Promotion Succeeded",
        "",
        "Freight wintry-otter",
    ),
    Event(
        NOW - timedelta(minutes=11),
        NOW - timedelta(minutes=10, seconds=50),
        ROLLOUTS,
        "dev",
        "verification Successful",
        "",
        "Freight wintry-otter",
    ),
    Event(NOW - timedelta(minutes=5), None, ARGOCD, "pre", "sync", "Argo CD", "revision <b>abc</b>"),
)
