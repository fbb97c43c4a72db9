"""Kubernetes events on Freight and Promotions, with Kargo's reasons and annotations."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import httpx

from labkit.asynckube.objects import EVENT, Obj, annotations_of, name_of, namespace_of, now
from labkit.asynckube.server import ApiError, ApiServer
from labkit.kargolite.availability import discovered_at
from labkit.kargolite.model import ANNOTATION_CREATE_ACTOR, ANNOTATION_ROLLBACK, API_VERSION

log = logging.getLogger("kargolite.events")

_PREFIX = "event.kargo.akuity.io/"


class EventRecorder:
    """Writes events in the background: a lost event never holds up a Promotion."""

    def __init__(self, server: ApiServer, argocd_namespace: str) -> None:
        self._server = server
        self._argocd_namespace = argocd_namespace
        self._tasks: set[asyncio.Task[None]] = set()

    def promotion(
        self,
        reason: str,
        message: str,
        component: str,
        promotion: Obj,
        freight: Obj | None,
        *,
        actor: str = "",
        verification_pending: bool | None = None,
    ) -> None:
        """Record an event on a Promotion. Its creator counts as the actor, where known."""
        spec = promotion["spec"]
        facts = {
            "actor": annotations_of(promotion).get(ANNOTATION_CREATE_ACTOR) or actor or f"controller:{component}",
            "project": namespace_of(promotion),
            "promotion-name": name_of(promotion),
            "promotion-create-time": promotion["metadata"].get("creationTimestamp") or now(),
            "stage-name": spec["stage"],
        }
        if applications := self._applications(spec.get("steps") or []):
            facts["applications"] = json.dumps(applications, separators=(",", ":"))
        if freight is not None:
            facts |= _freight_facts(freight)
        if verification_pending is not None:
            facts["verification-pending"] = str(verification_pending).lower()
        if annotations_of(promotion).get(ANNOTATION_ROLLBACK) == "true":
            facts["rollback"] = "true"
        self._record("Promotion", promotion, reason, message, component, facts)

    def freight(
        self,
        reason: str,
        message: str,
        component: str,
        freight: Obj,
        *,
        stage: str = "",
        actor: str = "",
        verification: Obj | None = None,
        promotion: str = "",
    ) -> None:
        """Record an event on Freight; `verification` is the entry of the Stage's verification history."""
        facts = {
            "actor": actor or f"controller:{component}",
            "project": namespace_of(freight),
            "stage-name": stage,
            **_freight_facts(freight),
        }
        for fact, field in (("verification-start-time", "startTime"), ("verification-finish-time", "finishTime")):
            if value := (verification or {}).get(field):
                facts[fact] = value
        if run := (verification or {}).get("analysisRun"):
            facts["analysis-run-name"] = run["name"]
        if promotion:
            facts["promotion-name"] = promotion
        self._record("Freight", freight, reason, message, component, facts)

    async def drain(self) -> None:
        """Wait until all recorded events are written."""
        await asyncio.gather(*self._tasks)

    def _applications(self, steps: list[Obj]) -> list[Obj]:
        found = {
            (app.get("namespace") or self._argocd_namespace, app["name"])
            for step in steps
            if step.get("uses") == "argocd-update"
            for app in (step.get("config") or {}).get("apps") or []
            if app.get("name")
        }
        return [{"Namespace": namespace, "Name": name} for namespace, name in sorted(found)]

    def _record(self, kind: str, obj: Obj, reason: str, message: str, component: str, facts: dict[str, str]) -> None:
        moment = now()
        event = {
            "metadata": {
                "name": f"{name_of(obj)}.{time.time_ns():x}",
                "namespace": namespace_of(obj),
                "annotations": {_PREFIX + fact: value for fact, value in facts.items()},
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": name_of(obj),
                "namespace": namespace_of(obj),
            },
            "type": "Normal",
            "reason": reason,
            "message": message[:1024],
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        log.info("%s %s/%s %s: %s", kind, namespace_of(obj), name_of(obj), reason, message)
        task = asyncio.get_running_loop().create_task(self._write(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, event: Obj) -> None:
        try:
            await self._server.create(EVENT, event)
        except (ApiError, httpx.HTTPError) as error:
            log.warning("event %s was not written: %s", event["reason"], error)


def _freight_facts(freight: Obj) -> dict[str, str]:
    facts = {"freight-name": name_of(freight), "freight-create-time": discovered_at(freight)}
    if alias := freight.get("alias"):
        facts["freight-alias"] = alias
    if warehouse := freight["origin"].get("name"):
        facts["freight-warehouse-name"] = warehouse
    for field in ("commits", "images", "charts", "artifacts"):
        if items := freight.get(field):
            facts[f"freight-{field}"] = json.dumps(items, separators=(",", ":"))
    return facts
