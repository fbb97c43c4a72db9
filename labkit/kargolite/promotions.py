"""Promotions: wait for the Stage's turn, run the steps, say how it ended."""

from __future__ import annotations

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

from labkit.asynckube.objects import Key, Obj, annotations_of, is_deleted, key_of, name_of, namespace_of, now, status_of
from labkit.asynckube.server import ApiError
from labkit.kargolite.applications import OPERATION_ENDS
from labkit.kargolite.availability import is_available
from labkit.kargolite.controller import Controller, Retry
from labkit.kargolite.functions import freight_functions
from labkit.kargolite.identity import collection_id
from labkit.kargolite.model import (
    ANNOTATION_CREATE_ACTOR,
    ANNOTATION_REFRESH,
    ANNOTATION_REVERIFY,
    ANNOTATION_ROLLBACK,
    PROMOTION_ENDS,
    origin_key,
)
from labkit.kargolite.requests import Request, abort_promotion_request
from labkit.kargolite.runner import Names, Progress, run_steps
from labkit.kargolite.steps.base import StepContext
from labkit.kargolite.world import Shard, World

log = logging.getLogger("kargolite.promotions")

_LOOK_AGAIN = 300.0
_COMPONENT = "promotion"


class PromotionReconciler:
    """Reconciles Promotions when they, their Stage or an Application that they wait for change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.controller = Controller("Promotion", self._reconcile)
        world.promotions.on_change(self._promotion_changed)
        world.stages.on_change(self._stage_changed)
        for shard in world.shards.values():
            shard.applications.on_change(self._application_changed)

    def _promotion_changed(self, before: Obj | None, after: Obj | None) -> None:
        if after is None:
            if before is not None:
                _remove(self._work_folder(before))
        elif not _is_over(after) and (before is None or _asked_for(before) != _asked_for(after)):
            self.controller.add(key_of(after))

    def _stage_changed(self, before: Obj | None, after: Obj | None) -> None:
        current = (status_of(after).get("currentPromotion") or {}).get("name")
        if after and current and current != (status_of(before).get("currentPromotion") or {}).get("name"):
            self.controller.add(Key(namespace_of(after), current))

    def _application_changed(self, before: Obj | None, after: Obj | None) -> None:
        app = after or before
        if app is None or (before and after and _sync_state(before) == _sync_state(after)):
            return
        for promotion in self._world.promotions.all():
            if status_of(promotion).get("phase") == "Running" and _is_syncing(promotion, name_of(app)):
                self.controller.add(key_of(promotion))

    async def _reconcile(self, key: Key) -> float | None:
        promotion = self._world.promotions.get(*key)
        if promotion is None or _is_over(promotion) or is_deleted(promotion):
            return None
        namespace, stage_name = key.namespace, promotion["spec"]["stage"]
        stage = self._world.stages.get(namespace, stage_name)
        if stage is None:
            raise Retry(f'could not find Stage "{stage_name}" in namespace "{namespace}"')
        shard = self._world.shard_of(stage)
        if shard is None:
            return None
        freight = self._world.freight.get(namespace, promotion["spec"]["freight"])
        request = abort_promotion_request(annotations_of(promotion))
        if request and request.subject == "terminate":
            await self._abort(promotion, stage, freight, request)
            return None
        if not status_of(promotion).get("phase"):
            await self._world.promotions.patch_status(promotion, {"phase": "Pending"})
        if (status_of(stage).get("currentPromotion") or {}).get("name") != key.name:
            return None
        return await self._promote(promotion, stage, freight, shard)

    async def _promote(self, promotion: Obj, stage: Obj, freight: Obj | None, shard: Shard) -> float | None:
        if status_of(promotion).get("phase") != "Running":
            begun = status_of(promotion) | {"phase": "Running", "startedAt": now()}
            promotion = await self._world.promotions.patch_status(promotion, begun)
            log.info("%s/%s began", namespace_of(promotion), name_of(promotion))
        status = copy.deepcopy(status_of(promotion))
        progress: Progress | None = None
        if problem := _problem(promotion, stage, freight):
            status |= {"phase": "Errored", "message": problem}
        else:
            assert freight is not None
            progress = await self._run(promotion, stage, freight, shard, status)
        if _is_over({"status": status}):
            status["finishedAt"] = now()
        if token := annotations_of(promotion).get(ANNOTATION_REFRESH):
            status["lastHandledRefresh"] = token
        if status["phase"] == "Succeeded":
            await self._reverify(promotion, stage)
        promotion = await self._world.promotions.patch_status(promotion, status)
        if _is_over(promotion):
            self._finish(promotion, stage, freight)
            return None
        assert progress is not None
        if progress.retry:
            raise Retry(progress.message)
        waits = (progress.look_again, progress.deadline, _LOOK_AGAIN)
        return max(0.1, min(seconds for seconds in waits if seconds is not None))

    async def _run(self, promotion: Obj, stage: Obj, freight: Obj, shard: Shard, status: Obj) -> Progress:
        """Run the steps as far as they go, and write down in `status` how far that is."""
        reference = freight_reference(freight)
        status["freight"] = reference
        status["freightCollection"] = _collection(reference, stage)
        work = self._work_folder(promotion)
        start, metadata = int(status.get("currentStep", 0)), status.get("stepExecutionMetadata") or []
        if not work.is_dir():
            work.mkdir(parents=True, mode=0o700)
            start, metadata = 0, []
            status.pop("healthChecks", None)
        items = status["freightCollection"]["items"]
        collected = [items[origin] for origin in sorted(items)]
        progress = await run_steps(
            promotion["spec"].get("steps") or [],
            self._context(promotion, stage, shard, work, collected),
            self._names(promotion, stage, freight, collected),
            start=start,
            metadata=metadata,
            state=status.get("state") or {},
        )
        status |= {"phase": progress.phase, "stepExecutionMetadata": progress.steps}
        optional: Obj = {
            "message": progress.message,
            "currentStep": progress.current_step,
            "healthChecks": (status.get("healthChecks") or []) + progress.health_checks,
        }
        for field, value in optional.items():
            if value:
                status[field] = value
            else:
                status.pop(field, None)
        # As in Kargo, there is a state as soon as a step ran, be it without any output.
        status.pop("state", None)
        if progress.state:
            status["state"] = {alias: output for alias, output in progress.state.items() if output is not None}
        return progress

    def _context(self, promotion: Obj, stage: Obj, shard: Shard, work: Path, collected: list[Obj]) -> StepContext:
        namespace = namespace_of(promotion)
        return StepContext(
            work=work,
            project=namespace,
            stage=name_of(stage),
            promotion=name_of(promotion),
            actor=_actor(promotion),
            alias="",
            state={},
            freight=tuple(collected),
            secrets=lambda: self._world.secrets.all(namespace),
            applications=shard.applications,
            argocd_namespace=self._world.settings.argocd_namespace,
        )

    def _names(self, promotion: Obj, stage: Obj, freight: Obj, collected: list[Obj]) -> Names:
        namespace = namespace_of(promotion)
        ctx: dict[str, Any] = {
            "uiBaseUrl": "",
            "project": namespace,
            "promotion": name_of(promotion),
            "stage": name_of(stage),
            "targetFreight": {
                "name": name_of(freight),
                "alias": freight.get("alias", ""),
                "origin": {"name": freight["origin"]["name"]},
            },
            "meta": {
                "promotion": {
                    "actor": _actor(promotion),
                    "rollback": annotations_of(promotion).get(ANNOTATION_ROLLBACK) == "true",
                }
            },
        }
        return Names(
            ctx=ctx,
            functions=freight_functions(
                stage["spec"].get("requestedFreight") or [],
                collected,
                lambda name: self._world.warehouses.get(namespace, name),
                lambda name: self._world.secrets.get(namespace, name),
            ),
            variables=promotion["spec"].get("vars") or [],
        )

    def _finish(self, promotion: Obj, stage: Obj, freight: Obj | None) -> None:
        _remove(self._work_folder(promotion))
        phase, message = promotion["status"]["phase"], promotion["status"].get("message")
        self._world.events.promotion(
            f"Promotion{phase}",
            f"Promotion {phase}: {message}" if message else f"Promotion {phase}",
            self._world.component(_COMPONENT, stage),
            promotion,
            freight,
            verification_pending="verification" in stage["spec"] if phase == "Succeeded" else None,
        )

    async def _reverify(self, promotion: Obj, stage: Obj) -> None:
        """Freight that is promoted to where it is already is verified afresh."""
        history = status_of(stage).get("freightHistory") or []
        if not history or not history[0].get("verificationHistory"):
            return
        if promotion["spec"]["freight"] in {item["name"] for item in history[0]["items"].values()}:
            request = Request(history[0]["verificationHistory"][0]["id"], "").to_annotation("id")
            try:
                await self._world.stages.patch(stage, {"metadata": {"annotations": {ANNOTATION_REVERIFY: request}}})
            except ApiError as error:
                log.warning("%s: re-verification was not requested: %s", name_of(stage), error)

    async def _abort(self, promotion: Obj, stage: Obj, freight: Obj | None, request: Request) -> None:
        component = self._world.component(_COMPONENT, stage)
        actor = request.actor or f"controller:{component}"
        status = copy.deepcopy(status_of(promotion))
        steps = status.get("stepExecutionMetadata") or []
        current = int(status.get("currentStep", 0))
        if status.get("phase") == "Running" and len(steps) == current + 1 and steps[current].get("status") == "Running":
            steps[current] |= {"status": "Aborted", "finishedAt": now()}
        message = f"Promotion terminated by {actor}"
        status |= {"phase": "Aborted", "message": message, "finishedAt": now()}
        promotion = await self._world.promotions.patch_status(promotion, status)
        _remove(self._work_folder(promotion))
        self._world.events.promotion("PromotionAborted", message, component, promotion, freight, actor=actor)

    def _work_folder(self, promotion: Obj) -> Path:
        return self._world.settings.work / f"promotion-{promotion['metadata']['uid']}"


def forget_working_copies(work: Path) -> None:
    """Remove what Promotions left behind that were running when the program ended: they begin anew."""
    for folder in work.glob("promotion-*"):
        _remove(folder)


def freight_reference(freight: Obj) -> Obj:
    """What a Promotion or a Stage's history keeps of Freight."""
    fields = ("images", "commits", "charts", "artifacts")
    return {"name": name_of(freight), "origin": freight["origin"]} | {
        field: freight[field] for field in fields if freight.get(field)
    }


def _collection(reference: Obj, stage: Obj) -> Obj:
    """The Freight being promoted, and for Stages with several origins what the last Promotion had of the others."""
    items: Obj = {}
    requests = stage["spec"].get("requestedFreight") or []
    if len(requests) > 1:
        last = status_of(stage).get("lastPromotion") or {}
        inherited = ((last.get("status") or {}).get("freightCollection") or {}).get("items") or {}
        for request in requests:
            origin = origin_key(request["origin"])
            if origin in inherited:
                items[origin] = inherited[origin]
    items[origin_key(reference["origin"])] = reference
    return {"id": collection_id(item["name"] for item in items.values()), "items": items}


def _problem(promotion: Obj, stage: Obj, freight: Obj | None) -> str:
    name, namespace = promotion["spec"]["freight"], namespace_of(promotion)
    if freight is None:
        return f'Freight "{name}" not found in namespace "{namespace}"'
    if not is_available(stage, freight):
        return f'Freight "{name}" is not available to Stage "{name_of(stage)}" in namespace "{namespace}"'
    return ""


def _actor(promotion: Obj) -> str:
    """Who asked for the Promotion, without the kind of account (`kubernetes:`)."""
    value = annotations_of(promotion).get(ANNOTATION_CREATE_ACTOR, "")
    if value == "unknown actor":
        return ""
    return value.partition(":")[2] if value.count(":") == 1 else value


def _is_over(promotion: Obj) -> bool:
    return status_of(promotion).get("phase") in PROMOTION_ENDS


def _asked_for(promotion: Obj) -> tuple[str | None, Request | None]:
    annotations = annotations_of(promotion)
    return annotations.get(ANNOTATION_REFRESH), abort_promotion_request(annotations)


def _is_syncing(promotion: Obj, app: str) -> bool:
    steps = promotion["spec"].get("steps") or []
    current = int(status_of(promotion).get("currentStep", 0))
    if current >= len(steps) or steps[current].get("uses") != "argocd-update":
        return False
    apps = (steps[current].get("config") or {}).get("apps") or []
    return any(item.get("name") == app or "${" in str(item.get("name")) for item in apps)


def _sync_state(app: Obj) -> tuple[bool, Any]:
    operation = status_of(app).get("operationState") or {}
    ended = operation.get("phase") in OPERATION_ENDS
    return ended, operation.get("finishedAt") if ended else None


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
