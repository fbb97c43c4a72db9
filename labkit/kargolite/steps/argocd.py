"""argocd-update: sync an Application, and wait for it."""

from __future__ import annotations

import logging

from labkit.asynckube.objects import Obj, status_of
from labkit.asynckube.server import ApiError
from labkit.kargolite.applications import (
    OPERATION_ENDS,
    OPERATION_FAILURES,
    NotAuthorizedError,
    authorize,
    desired_revisions,
    observed_revisions,
    promotion_of,
    same_source,
    sources_of,
    sync_patch,
)
from labkit.kargolite.steps.base import Field, Step, StepContext, StepError, StepResult

log = logging.getLogger("kargolite.argocd")

_TIMEOUT = 300.0


async def _update(context: StepContext, config: Obj) -> StepResult:
    phases, checks = [], []
    for update in config["apps"]:
        namespace = update.get("namespace") or context.argocd_namespace
        app = _application(context, update["name"], namespace)
        revisions = desired_revisions(app, update.get("sources") or [])
        check = {"name": update["name"], "namespace": namespace}
        checks.append(check | ({"desiredRevisions": revisions} if revisions else {}))
        phases.append(await _sync(context, app, update, revisions))
    running = any(phase not in OPERATION_ENDS for phase in phases)
    return StepResult(
        status="Running" if running else "Succeeded",
        health_check={"uses": "argocd-update", "config": {"apps": checks}},
    )


def _application(context: StepContext, name: str, namespace: str) -> Obj:
    app = context.applications.get(namespace, name)
    if app is None:
        raise StepError(f'unable to find Argo CD Application "{name}" in namespace "{namespace}"')
    try:
        authorize(app, context.project, context.stage)
    except NotAuthorizedError as error:
        log.info("%s", error)
        raise StepError(f'Argo CD Application "{name}" in namespace "{namespace}" is not authorized') from error
    return app


async def _sync(context: StepContext, app: Obj, update: Obj, revisions: list[str]) -> str:
    """Start the sync if it is still to be started, and say how it stands."""
    name, namespace = update["name"], app["metadata"]["namespace"]
    where = f'Argo CD Application "{name}" in namespace "{namespace}"'
    if promotion_of(app.get("operation")) == context.promotion:
        return "Running"
    state = status_of(app).get("operationState")
    if state:
        phase = str(state.get("phase", ""))
        if phase not in OPERATION_ENDS:
            return phase or "Running"
        if promotion_of(state.get("operation")) == context.promotion and _did_sync(state, revisions):
            if phase in OPERATION_FAILURES:
                raise StepError(f"{where} failed with: {state.get('message', '')}")
            return phase
    for source in update.get("sources") or []:
        if not any(same_source(known, source) for known in sources_of(app)):
            chart = f' and chart "{source["chart"]}"' if source.get("chart") else ""
            raise StepError(
                f"error building desired sources for {where}: no source of {where} matched update for source with "
                f"repoURL {source['repoURL']}{chart}"
            )
    try:
        await context.applications.patch(app, sync_patch(app, context.promotion, context.actor))
    except ApiError as error:
        raise StepError(f'error syncing {where}: error patching Argo CD Application "{name}": {error.what}') from error
    log.info("%s/%s: sync started for %s", namespace, name, context.promotion)
    return "Running"


def _did_sync(state: Obj, revisions: list[str]) -> bool:
    result = state.get("syncResult")
    if not result:
        return False
    observed = observed_revisions(result)
    return all(not want or want == have for want, have in zip(revisions, observed, strict=False))


ARGOCD_STEPS = {
    "argocd-update": Step(
        {
            "apps": Field(
                "array",
                required=True,
                items={
                    "name": Field(required=True),
                    "namespace": Field(),
                    "selector": Field("object", elsewhere=True),
                    "sources": Field(
                        "array",
                        items={
                            "repoURL": Field(required=True),
                            "chart": Field(),
                            "desiredRevision": Field(),
                            "updateTargetRevision": Field("boolean", elsewhere=True),
                            "helm": Field("object", elsewhere=True),
                            "kustomize": Field("object", elsewhere=True),
                        },
                    ),
                },
            )
        },
        _update,
        timeout=_TIMEOUT,
    )
}
