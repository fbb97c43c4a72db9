"""Argo CD Applications: who may touch them, how they are synced, and what their state means for a Stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.asynckube.objects import Obj, annotations_of, name_of, namespace_of, status_of
from labkit.kargolite.model import ANNOTATION_AUTHORIZED_STAGE, ANNOTATION_PROMOTION
from labkit.kargolite.urls import normalize_git

ANNOTATION_ARGOCD_REFRESH = "argocd.argoproj.io/refresh"
OPERATION_ENDS = frozenset({"Succeeded", "Failed", "Error"})
OPERATION_FAILURES = frozenset({"Failed", "Error"})

_SEVERITY = ("Healthy", "NotApplicable", "Progressing", "Unknown", "Unhealthy")

# What Kargo knows of an Application's status; everything else is left out of `health.output`.
_SOURCE = {"repoURL": None, "targetRevision": None, "chart": None, "helm": None, "kustomize": None}
_ALWAYS_SHOWN = frozenset({"initiatedBy", "retry"})
_KNOWN_STATUS: Obj = {
    "health": {"status": None, "message": None},
    "sync": {"status": None, "revision": None, "revisions": None},
    "conditions": {"type": None, "message": None},
    "operationState": {
        "operation": {
            "sync": {"syncOptions": None, "revisions": None},
            "initiatedBy": {"username": None, "automated": None},
            "info": {"name": None, "value": None},
            "retry": {"limit": None, "backoff": None},
        },
        "phase": None,
        "message": None,
        "syncResult": {"revision": None, "revisions": None, "source": _SOURCE, "sources": _SOURCE},
        "finishedAt": None,
    },
}


class NotAuthorizedError(Exception):
    """The Application does not name the Stage in its `authorized-stage` annotation."""


def authorize(app: Obj, project: str, stage: str) -> None:
    """Check that a Stage may change an Application.

    Raises:
        NotAuthorizedError: It may not.
    """
    value = annotations_of(app).get(ANNOTATION_AUTHORIZED_STAGE, "")
    named = {tuple(part.strip() for part in entry.split(":")) for entry in value.split(",")}
    if (project, stage) not in named:
        raise NotAuthorizedError(
            f'Argo CD Application "{name_of(app)}" in namespace "{namespace_of(app)}" does not permit mutation '
            f"by Kargo Stage {stage} in namespace {project}"
        )


def sources_of(app: Obj) -> list[Obj]:
    """The Application's sources, however it names them."""
    spec = app["spec"]
    return spec.get("sources") or ([spec["source"]] if spec.get("source") else [])


def desired_revisions(app: Obj, updates: Sequence[Obj]) -> list[str]:
    """For each source of the Application the revision that an `argocd-update` step wants, "" for any."""
    revisions = []
    for source in sources_of(app):
        wanted = [update.get("desiredRevision") or "" for update in updates if same_source(source, update)]
        revisions.append(wanted[0] if wanted else "")
    return revisions if any(revisions) else []


def same_source(source: Obj, update: Obj) -> bool:
    """Whether a step's source is one of the Application's."""
    if source.get("chart") or update.get("chart"):
        return (source["repoURL"], source.get("chart")) == (update["repoURL"], update.get("chart"))
    return normalize_git(source["repoURL"]) == normalize_git(update["repoURL"])


def sync_patch(app: Obj, promotion: str, actor: str) -> Obj:
    """The merge patch that makes Argo CD sync the Application for a Promotion."""
    policy = app["spec"].get("syncPolicy") or {}
    sync: Obj = {"revisions": []}
    if options := policy.get("syncOptions"):
        sync["syncOptions"] = options
    operation: Obj = {
        "initiatedBy": {"username": actor} if actor else {"username": "kargo-controller", "automated": True},
        "info": [
            {"name": "Reason", "value": "Promotion triggered a sync of this Application resource."},
            {"name": ANNOTATION_PROMOTION, "value": promotion},
        ],
        "sync": sync,
    }
    if retry := policy.get("retry"):
        operation["retry"] = retry
    patch: Obj = {
        "metadata": {"annotations": {ANNOTATION_ARGOCD_REFRESH: "hard"}},
        "operation": operation,
    }
    if status_of(app).get("operationState"):
        patch["status"] = {"operationState": None}
    return patch


def promotion_of(operation: Obj | None) -> str:
    """The Promotion for which an operation was started, "" if it was started by something else."""
    for info in (operation or {}).get("info") or []:
        if info.get("name") == ANNOTATION_PROMOTION:
            return str(info.get("value", ""))
    return ""


def observed_revisions(result: Obj) -> list[str]:
    """The revisions in a sync status or sync result."""
    return result.get("revisions") or [result.get("revision", "")]


def needs_reconciliation(app: Obj) -> bool:
    """Whether Argo CD has not looked at the Application since its last operation, so that its health is stale."""
    status = status_of(app)
    finished = (status.get("operationState") or {}).get("finishedAt")
    reconciled = status.get("reconciledAt")
    return bool(finished and (not reconciled or reconciled < finished))


def worst(states: Sequence[str]) -> str:
    """The worst of several health states; without any, Healthy."""
    return max(states, key=_SEVERITY.index, default="Healthy")


def assess(app: Obj | None, check: Obj, default_namespace: str) -> tuple[str, list[str], Obj]:
    """What an Application's state means for the Stage that promoted it.

    Args:
        app: The Application, None if there is none.
        check: An entry of the health check's `apps`.
        default_namespace: Where Applications are, unless the entry says so.

    Returns:
        The Stage's health, what is wrong, and the state for the Stage's `health.output`.
    """
    name, namespace = check["name"], check.get("namespace") or default_namespace
    where = f'Argo CD Application "{name}" in namespace "{namespace}"'
    shown: Obj = {"Name": name, "Namespace": namespace}
    if app is None:
        unknown = {"health": {"status": "Unknown"}, "sync": {"status": "Unknown"}}
        return "Unknown", [f"unable to find {where}"], shown | unknown
    shown |= _known(status_of(app), _KNOWN_STATUS)
    state, issues = _state(app, check.get("desiredRevisions") or [], where)
    return state, issues, shown


def _state(app: Obj, desired: list[str], where: str) -> tuple[str, list[str]]:
    if needs_reconciliation(app):
        return "Unknown", [
            f"{where} was not reconciled after its most recent operation completed; "
            "Application health status not trusted"
        ]
    errors = [
        f'{where} has "{item["type"]}" condition: {item["message"]}'
        for item in status_of(app).get("conditions") or []
        if item["type"] in ("ComparisonError", "InvalidSpecError")
    ]
    if errors:
        return "Unhealthy", errors
    if any(desired) and (problem := _sync_problem(app, desired, where)):
        return problem
    health = (status_of(app).get("health") or {}).get("status", "")
    match health:
        case "Healthy":
            return "Healthy", []
        case "Progressing" | "":
            return "Progressing", [f"{where} is progressing"]
        case "Suspended":
            return "Progressing", [f"{where} is suspended"]
        case _:
            return "Unhealthy", [f'{where} has health state "{health}"']


def _sync_problem(app: Obj, desired: list[str], where: str) -> tuple[str, list[str]] | None:
    status, sources = status_of(app), sources_of(app)
    if (app.get("operation") or {}).get("sync") or not (status.get("operationState") or {}).get("finishedAt"):
        return "Unknown", [f"{where} is being synced"]
    if len(sources) != len(desired):
        return "Unknown", [f"{where} has {len(sources)} sources but {len(desired)} desired revisions"]
    observed = observed_revisions(status.get("sync") or {})
    if len(observed) != len(desired):
        return "Unknown", [f"{where} has {len(observed)} observed revisions but {len(desired)} desired revisions"]
    named = where.removeprefix("Argo CD ")
    wrong = [
        f'Source {index} with RepoURL {source["repoURL"]} of {named} does not match the desired revision "{want}".'
        for index, (source, want, have) in enumerate(zip(sources, desired, observed, strict=True))
        if want and want != have
    ]
    if not wrong:
        return None
    return "Unhealthy", [f"Not all sources of {named} are synced to the desired revisions. Issues: {'; '.join(wrong)}"]


def _known(value: Any, shape: Any) -> Any:
    if shape is None:
        return value
    if isinstance(value, list):
        return [_known(item, shape) for item in value]
    known = {}
    for key, inner in shape.items():
        item = value.get(key)
        if item not in (None, "", [], False):
            known[key] = _known(item, inner)
        elif key in _ALWAYS_SHOWN:
            known[key] = {}
    return known
