"""Stages: whose turn it is to be promoted, what they have, whether it is healthy and verified, what comes next."""

from __future__ import annotations

import copy
import json
import uuid

from labkit.asynckube.objects import (
    Key,
    Obj,
    annotations_of,
    generation_of,
    is_deleted,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    now,
    status_of,
)
from labkit.asynckube.server import ApiError
from labkit.kargolite.applications import (
    ANNOTATION_ARGOCD_REFRESH,
    assess,
    needs_reconciliation,
    worst,
)
from labkit.kargolite.availability import (
    auto_promotion_candidates,
    available_freight,
    longest_soak,
    soak_left,
)
from labkit.kargolite.conditions import Truth, get_condition, remove_condition, set_condition
from labkit.kargolite.controller import Controller, Retry
from labkit.kargolite.durations import format_duration
from labkit.kargolite.model import (
    ANNOTATION_ARGOCD_CONTEXT,
    ANNOTATION_CREATE_ACTOR,
    ANNOTATION_HOLD,
    ANNOTATION_PROMOTION,
    ANNOTATION_REFRESH,
    ANNOTATION_RESUME,
    API_VERSION,
    LABEL_STAGE,
    PROMOTION_ENDS,
    VERIFICATION_ENDS,
    origin_key,
)
from labkit.kargolite.projects import ensure_finalizer, remove_finalizer
from labkit.kargolite.requests import (
    abort_verification_request,
    reverify_request,
)
from labkit.kargolite.verification import abort_verification, start_verification, verification_result
from labkit.kargolite.world import World

_LOOK_AGAIN = 300.0
_SOON = 0.1
_LONGEST_HISTORY = 10
_COMPONENT = "stage"


class StageReconciler:
    """Reconciles Stages when they or something they depend on change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.controller = Controller("Stage", self._reconcile)
        world.stages.on_change(self._stage_changed)
        world.promotions.on_change(self._promotion_changed)
        world.freight.on_change(self._freight_changed)
        world.analysis_runs.on_change(self._analysis_run_changed)
        world.project_configs.on_change(self._policies_changed)
        world.warehouses.on_change(self._warehouse_changed)
        for shard in world.shards.values():
            shard.applications.on_change(self._application_changed)

    def _stage_changed(self, before: Obj | None, after: Obj | None) -> None:
        if after and (before is None or _asked_for(before) != _asked_for(after)):
            self.controller.add(key_of(after))

    def _promotion_changed(self, before: Obj | None, after: Obj | None) -> None:
        if (promotion := after or before) and status_of(before).get("phase") != status_of(after).get("phase"):
            self.controller.add(Key(namespace_of(promotion), promotion["spec"]["stage"]))

    def _freight_changed(self, before: Obj | None, after: Obj | None) -> None:
        if (freight := after or before) and (before is None or status_of(before) != status_of(after)):
            for stage in self._world.stages_that_request(namespace_of(freight), freight["origin"]["name"]):
                self.controller.add(key_of(stage))

    def _analysis_run_changed(self, before: Obj | None, after: Obj | None) -> None:
        run = after or before
        if run and LABEL_STAGE in labels_of(run) and status_of(before).get("phase") != status_of(after).get("phase"):
            self.controller.add(Key(namespace_of(run), labels_of(run)[LABEL_STAGE]))

    def _policies_changed(self, before: Obj | None, after: Obj | None) -> None:
        if (config := after or before) and (before or {}).get("spec") != (after or {}).get("spec"):
            for stage in self._world.stages.all(namespace_of(config)):
                self.controller.add(key_of(stage))

    def _warehouse_changed(self, before: Obj | None, after: Obj | None) -> None:
        if (warehouse := after or before) and (before is None or after is None):
            for stage in self._world.stages_that_request(namespace_of(warehouse), name_of(warehouse)):
                self.controller.add(key_of(stage))

    def _application_changed(self, before: Obj | None, after: Obj | None) -> None:
        app = after or before
        if app is None or (before and after and _app_state(before) == _app_state(after)):
            return
        for stage in self._world.stages.all():
            for check in _health_checks(status_of(stage)):
                if any(item["name"] == name_of(app) for item in check["config"]["apps"]):
                    self.controller.add(key_of(stage))

    async def _reconcile(self, key: Key) -> float | None:
        stage = self._world.stages.get(*key)
        if stage is None or self._world.shard_of(stage) is None:
            return None
        if is_deleted(stage):
            await self._clean_up(stage)
            return None
        stage = await ensure_finalizer(self._world.stages, stage)
        template = (stage["spec"].get("promotionTemplate") or {}).get("spec") or {}
        work = _Promotable(self._world, stage) if template.get("steps") else _ControlFlow(self._world, stage)
        try:
            return await work.run()
        finally:
            await self._world.stages.patch_status(work.shown, work.status)

    async def _clean_up(self, stage: Obj) -> None:
        name, namespace = name_of(stage), namespace_of(stage)
        for freight in self._world.freight.all(namespace):
            patch = {
                field: _less(places, name)
                for field in ("verifiedIn", "approvedFor", "currentlyIn")
                if name in (places := status_of(freight).get(field) or {})
            }
            if patch:
                await self._world.freight.patch(freight, {"status": patch}, "status")
        for run in self._world.analysis_runs.all(namespace):
            if labels_of(run).get(LABEL_STAGE) == name:
                await self._world.server.delete(self._world.analysis_runs.resource, namespace, name_of(run))
        await remove_finalizer(self._world.stages, stage)


class _ControlFlow:
    """One look at a Stage without steps: it passes on what is available to it."""

    def __init__(self, world: World, stage: Obj) -> None:
        self._world = world
        self._stage = stage
        self.shown = stage
        kept = ("Ready", "Reconciling")
        before = copy.deepcopy(status_of(stage))
        self.status: Obj = {
            "conditions": [item for item in before.get("conditions") or [] if item["type"] in kept],
            "freightSummary": "N/A",
            "observedGeneration": generation_of(stage),
        }
        if token := annotations_of(stage).get(ANNOTATION_REFRESH) or before.get("lastHandledRefresh"):
            self.status["lastHandledRefresh"] = token

    async def run(self) -> float | None:
        namespace = namespace_of(self._stage)
        for request in self._stage["spec"].get("requestedFreight") or []:
            name = request["origin"]["name"]
            if self._world.warehouses.get(namespace, name) is None:
                message = f'Warehouse "{name}" not found in namespace "{namespace}"'
                set_condition(self.status, "Reconciling", "True", "RetryAfterFreightRetrievalFailed", message)
                set_condition(self.status, "Ready", "False", "FreightRetrievalFailed", message)
                raise Retry(message)
        freight = list(self._world.freight.all(namespace))
        for item in available_freight(self._stage, freight):
            await self._pass_on(item)
        set_condition(self.status, "Ready", "True", "Ready")
        remove_condition(self.status, "Reconciling")
        return soak_left(self._stage, freight)

    async def _pass_on(self, freight: Obj) -> None:
        name, moment = name_of(self._stage), now()
        if name in (status_of(freight).get("verifiedIn") or {}):
            return
        patch = {"status": {"verifiedIn": {name: {"verifiedAt": moment}}}}
        await self._world.freight.patch(freight, patch, "status")
        self._world.events.freight(
            "FreightVerificationSucceeded",
            "Freight verification succeeded",
            self._world.component(_COMPONENT, self._stage),
            freight,
            stage=name,
            verification={"startTime": moment, "finishTime": moment},
        )


class _Promotable:
    """One look at a Stage with steps, in Kargo's order: Promotions, Freight, health, verification, auto-promotion."""

    def __init__(self, world: World, stage: Obj) -> None:
        self._world = world
        self._stage = stage
        self.shown = stage
        self._name = name_of(stage)
        self._namespace = namespace_of(stage)
        self._generation = generation_of(stage)
        self._auto = world.auto_promotion_enabled(stage)
        self.status = copy.deepcopy(status_of(stage))

    async def run(self) -> float | None:
        try:
            soon = await self._sync_promotions()
            await self._show()
            await self._sync_freight()
            await self._assess_health()
            await self._show()
            await self._verify()
            await self._show()
            await self._mark_verified()
            self._compute_holds()
            await self._show()
            await self._auto_promote()
            self._summarize()
        except (ApiError, Retry) as error:
            self._set("Ready", "False", "ReconcileError", getattr(error, "what", str(error)))
            self._set("Reconciling", "True", "RetryAfterError")
            raise
        if token := annotations_of(self._stage).get(ANNOTATION_REFRESH):
            self.status["lastHandledRefresh"] = token
        if soon and not self._is_verifying():
            return _SOON
        remove_condition(self.status, "Reconciling")
        soaked = soak_left(self._stage, self._world.freight.all(self._namespace)) if self._auto else None
        return _LOOK_AGAIN if soaked is None else min(_LOOK_AGAIN, soaked + _SOON)

    # Promotions

    async def _sync_promotions(self) -> bool:
        """See to the Promotions; returns whether one is waiting while none is current."""
        self._drop_holds()
        promotions = sorted(self._world.promotions_of(self._stage), key=_turn)
        if not promotions:
            remove_condition(self.status, "Promoting")
            self.status.pop("currentPromotion", None)
            return False
        waiting = any(not _is_over(promotion) for promotion in promotions)
        first = min(
            (promotion for promotion in promotions if not _is_over(promotion)), key=_turn, default=promotions[-1]
        )
        current = self.status.get("currentPromotion")
        if current and (current["name"] != name_of(first) or _is_over(first)):
            remove_condition(self.status, "Promoting")
            self.status.pop("currentPromotion")
            await self._record(promotions)
            return waiting
        if self._is_verifying() or self._must_verify_first():
            remove_condition(self.status, "Promoting")
            return waiting
        if _is_over(first):
            remove_condition(self.status, "Promoting")
            return False
        phase = status_of(first).get("phase") or ""
        self._set("Promoting", "True", "ActivePromotion", f'Promotion "{name_of(first)}" is currently {phase}')
        self.status["currentPromotion"] = {"name": name_of(first)}
        if freight := status_of(first).get("freight"):
            self.status["currentPromotion"]["freight"] = freight
        return False

    def _must_verify_first(self) -> bool:
        """Healthy Freight is verified before the next Promotion starts; anything else may be replaced at once."""
        collection = self._collection()
        if collection is None:
            return False
        health = self.status.get("health")
        if health and health["status"] != "Healthy":
            return False
        history = collection.get("verificationHistory") or []
        return not history or history[0].get("phase") not in VERIFICATION_ENDS

    async def _record(self, promotions: list[Obj]) -> None:
        """Take over what has ended since the last look, oldest first."""
        last = (self.status.get("lastPromotion") or {}).get("name", "")
        for promotion in sorted(promotions, key=name_of):
            if not _is_over(promotion) or name_of(promotion) <= last:
                continue
            self._apply_intent(promotion)
            status = copy.deepcopy(status_of(promotion))
            previous = (self.status.get("lastPromotion") or {}).get("status") or {}
            if "startedAt" not in status and "freightCollection" not in status and "freightCollection" in previous:
                status["freightCollection"] = previous["freightCollection"]
            reference: Obj = {"name": name_of(promotion), "status": status}
            for field in ("finishedAt", "freight"):
                if field in status:
                    reference[field] = status[field]
            self.status["lastPromotion"] = reference
            if status["phase"] == "Succeeded":
                await self._record_success(status)

    async def _record_success(self, status: Obj) -> None:
        history = [copy.deepcopy(status["freightCollection"]), *(self.status.get("freightHistory") or [])]
        self.status["freightHistory"] = history[:_LONGEST_HISTORY]
        self.status.pop("health", None)
        self._set(
            "Healthy",
            "Unknown",
            "WaitingForHealthCheck",
            "Waiting for health check to be performed after successful promotion",
        )
        self._set(
            "Verified",
            "Unknown",
            "WaitingForVerification",
            "Waiting for verification to be performed after successful promotion",
        )
        apps = [
            {"name": app["name"], "namespace": app["namespace"]}
            for check in status.get("healthChecks") or []
            for app in check["config"]["apps"]
        ]
        value = json.dumps(apps, separators=(",", ":")) if apps else None
        if annotations_of(self._stage).get(ANNOTATION_ARGOCD_CONTEXT) != value:
            patch = {"metadata": {"annotations": {ANNOTATION_ARGOCD_CONTEXT: value}}}
            await self._world.stages.patch(self._stage, patch)

    # Auto-promotion holds

    def _drop_holds(self) -> None:
        holds = self.status.pop("autoPromotionHolds", None) or {}
        kept = {origin: hold for origin, hold in holds.items() if origin in self._origins()} if self._auto else {}
        if kept:
            self.status["autoPromotionHolds"] = kept

    def _apply_intent(self, promotion: Obj) -> None:
        if not self._auto or status_of(promotion)["phase"] == "Aborted":
            return
        holds = self.status.setdefault("autoPromotionHolds", {})
        annotations = annotations_of(promotion)
        if (origin := annotations.get(ANNOTATION_HOLD)) and origin in self._origins():
            holds[origin] = _hold(promotion, origin)
        elif not origin and (origin := annotations.get(ANNOTATION_RESUME)):
            holds.pop(origin, None)
        if not holds:
            del self.status["autoPromotionHolds"]

    def _compute_holds(self) -> None:
        """The holds that count now: what Promotions newer than the last recorded one ask for comes on top."""
        self.status.pop("effectiveAutoPromotionHolds", None)
        if not self._auto:
            return
        holds = copy.deepcopy(self.status.get("autoPromotionHolds") or {})
        last = (self.status.get("lastPromotion") or {}).get("name", "")
        for promotion in sorted(self._world.promotions_of(self._stage), key=name_of):
            if name_of(promotion) <= last or status_of(promotion).get("phase") == "Aborted":
                continue
            annotations = annotations_of(promotion)
            for origin in self._origins():
                if annotations.get(ANNOTATION_HOLD) == origin:
                    holds[origin] = _hold(promotion, origin)
                elif annotations.get(ANNOTATION_RESUME) == origin:
                    holds.pop(origin, None)
        if holds:
            self.status["effectiveAutoPromotionHolds"] = holds

    # Freight

    async def _sync_freight(self) -> None:
        """Make each piece of Freight say whether it is in this Stage."""
        collection = self._collection()
        current = {item["name"] for item in (collection or {"items": {}})["items"].values()}
        for freight in self._world.freight.all(self._namespace):
            is_in = self._name in (status_of(freight).get("currentlyIn") or {})
            if is_in and name_of(freight) not in current:
                await self._world.freight.patch(freight, {"status": _departure(freight, self._name)}, "status")
            elif not is_in and name_of(freight) in current:
                arrival = {"currentlyIn": {self._name: {"since": now()}}}
                await self._world.freight.patch(freight, {"status": arrival}, "status")
        for name in current:
            if self._world.freight.get(self._namespace, name) is None:
                raise Retry(f'failed to sync Freight: Freight "{name}" not found in namespace "{self._namespace}"')

    # Health

    async def _assess_health(self) -> None:
        if "currentPromotion" in self.status:
            self._unknown_health(
                "ActivePromotion",
                "Stage has a Promotion in progress",
                "Cannot assess health because a Promotion is currently in progress",
            )
            return
        last = self.status.get("lastPromotion")
        if last is None:
            self.status.pop("health", None)
            self._set("Healthy", "Unknown", "NoFreight", "Stage has no current Freight")
            return
        if last["status"]["phase"] != "Succeeded":
            message = "Cannot assess health because last Promotion did not succeed"
            self._unknown_health(f"LastPromotion{last['status']['phase']}", message, message)
            return
        await self._check_health()

    async def _check_health(self) -> None:
        checks = _health_checks(self.status)
        states, issues, output = [], [], []
        for check in checks:
            shown = []
            for app in check["config"]["apps"]:
                state, wrong, found = await self._check_application(app)
                states.append(state)
                issues += wrong
                shown.append(found)
            output.append({"applicationStatuses": shown})
        state = worst(states)
        self.status["health"] = (
            {"status": state} | ({"issues": issues} if issues else {}) | ({"output": output} if output else {})
        )
        if state == "Healthy":
            self._set("Healthy", "True", state, f"Stage is healthy (performed {len(checks)} health checks)")
        elif state == "Unhealthy":
            message = f"Stage is unhealthy ({len(issues)} issues in {len(checks)} health checks)"
            self._set("Healthy", "False", state, message)
        else:
            self._set("Healthy", "Unknown", state)

    async def _check_application(self, check: Obj) -> tuple[str, list[str], Obj]:
        shard = self._world.shard_of(self._stage)
        assert shard is not None
        namespace = check.get("namespace") or self._world.settings.argocd_namespace
        app = shard.applications.get(namespace, check["name"])
        if app and needs_reconciliation(app) and ANNOTATION_ARGOCD_REFRESH not in annotations_of(app):
            patch = {"metadata": {"annotations": {ANNOTATION_ARGOCD_REFRESH: "normal"}}}
            app = await shard.applications.patch(app, patch)
        return assess(app, check, namespace)

    def _unknown_health(self, reason: str, message: str, issue: str) -> None:
        self._set("Healthy", "Unknown", reason, message)
        self.status["health"] = {"status": "Unknown", "issues": [issue]}

    # Verification

    async def _verify(self) -> None:
        collection = self._collection()
        if collection is None:
            self._set("Verified", "Unknown", "NoFreight", "Stage has no current Freight to verify")
            return
        if "currentPromotion" in self.status:
            return
        info = await self._next_verification(collection)
        if info is not None:
            history = collection.get("verificationHistory") or []
            others = [item for item in history if item["id"] != info["id"]]
            collection["verificationHistory"] = [info, *others][:_LONGEST_HISTORY]
            if info["phase"] in VERIFICATION_ENDS:
                self._tell_result(collection, info)
        self._summarize_verification(collection)

    async def _next_verification(self, collection: Obj) -> Obj | None:
        """The verification as it stands now, where something new is to be written down."""
        annotations = annotations_of(self._stage)
        history = collection.get("verificationHistory") or []
        current = history[0] if history else None
        reverify = reverify_request(annotations)
        if current and current["phase"] not in VERIFICATION_ENDS:
            abort = abort_verification_request(annotations)
            if abort and abort.subject == current["id"]:
                return await abort_verification(self._world, current, abort)
            return verification_result(self._world, current)
        if current and not (reverify and reverify.subject == current["id"]):
            return None
        if (self.status.get("health") or {}).get("status") != "Healthy":
            return None
        if "verification" not in self._stage["spec"]:
            return _unconditional()
        last = self.status.get("lastPromotion")
        return await start_verification(self._world, self._stage, collection, last, reverify)

    def _summarize_verification(self, collection: Obj) -> None:
        history = collection.get("verificationHistory") or []
        if not history:
            return
        if any(info["phase"] == "Successful" for info in history):
            self._set("Verified", "True", "Verified", "Freight has been verified")
            return
        phase, message = history[0]["phase"], history[0].get("message", "")
        match phase:
            case "Pending":
                self._set("Verified", "Unknown", "VerificationPending", "Freight is pending verification")
            case "Running":
                self._set("Verified", "Unknown", "VerificationRunning", "Freight is currently being verified")
            case "Failed" | "Error" | "Aborted":
                self._set("Verified", "False", f"Verification{phase}", message)
            case _:
                self._set("Verified", "Unknown", f"Verification{phase}", message)

    def _tell_result(self, collection: Obj, info: Obj) -> None:
        phase = info["phase"]
        reason = {"Successful": "Succeeded", "Error": "Errored"}.get(phase, phase)
        run = info.get("analysisRun")
        found = self._world.analysis_runs.get(run["namespace"], run["name"]) if run else None
        for item in collection["items"].values():
            freight = self._world.freight.get(self._namespace, item["name"])
            if freight:
                self._world.events.freight(
                    f"FreightVerification{reason}",
                    "Freight verification succeeded" if phase == "Successful" else info.get("message", ""),
                    self._world.component(_COMPONENT, self._stage),
                    freight,
                    stage=self._name,
                    actor=info.get("actor", ""),
                    verification=info,
                    promotion=annotations_of(found).get(ANNOTATION_PROMOTION, "") if found else "",
                )

    async def _mark_verified(self) -> None:
        collection = self._collection()
        if collection is None or (self.status.get("health") or {}).get("status") != "Healthy":
            return
        history = collection.get("verificationHistory") or []
        if not history or history[0]["phase"] != "Successful" or self._is_verifying():
            return
        for item in collection["items"].values():
            freight = self._world.freight.get(self._namespace, item["name"])
            if freight and self._name not in (status_of(freight).get("verifiedIn") or {}):
                patch = {"verifiedIn": {self._name: {"verifiedAt": history[0]["finishTime"]}}}
                await self._world.freight.patch(freight, {"status": patch}, "status")

    # Auto-promotion

    async def _auto_promote(self) -> None:
        self.status.pop("autoPromotionEnabled", None)
        if not self._auto:
            return
        self.status["autoPromotionEnabled"] = True
        for origin in self._origins():
            name = origin.partition("/")[2]
            if self._world.warehouses.get(self._namespace, name) is None:
                raise Retry(
                    f'failed to auto-promote Freight: error listing available Freight for Stage "{self._name}": '
                    f'Warehouse "{name}" not found in namespace "{self._namespace}"'
                )
        held = self.status.get("effectiveAutoPromotionHolds") or {}
        candidates = auto_promotion_candidates(self._stage, self._world.freight.all(self._namespace))
        for origin, freight in candidates.items():
            if origin not in held and self._is_news(origin, name_of(freight)):
                await self._promote(origin, freight)

    def _is_news(self, origin: str, freight: str) -> bool:
        """Whether the Freight is neither here nor on its way, and has not failed here."""
        collection = self._collection()
        if collection and (collection["items"].get(origin) or {}).get("name") == freight:
            return False
        last = (self.status.get("lastPromotion") or {}).get("name", "")
        tries = [item for item in self._world.promotions_of(self._stage) if item["spec"]["freight"] == freight]
        if any(
            not _is_over(item) or (item["status"]["phase"] == "Succeeded" and name_of(item) > last) for item in tries
        ):
            return False
        newest = max(tries, key=lambda item: (item["metadata"]["creationTimestamp"], name_of(item)), default=None)
        return newest is None or newest["status"]["phase"] == "Succeeded"

    async def _promote(self, origin: str, freight: Obj) -> None:
        promotion = await self._world.promotions.create(
            {
                "apiVersion": API_VERSION,
                "kind": "Promotion",
                "metadata": {"generateName": "promo-", "namespace": self._namespace},
                "spec": {"stage": self._name, "freight": name_of(freight), "steps": []},
            }
        )
        self._world.events.promotion(
            "PromotionCreated",
            f'Automatically promoted Freight from origin "{origin}" for Stage "{self._name}"',
            self._world.component(_COMPONENT, self._stage),
            promotion,
            freight,
        )

    # The whole

    async def _show(self) -> None:
        """Show how far this look has come, as Kargo does: what waits for it need not wait for the end."""
        self._summarize()
        self.shown = await self._world.stages.patch_status(self.shown, copy.deepcopy(self.status))

    def _summarize(self) -> None:
        """Derive Ready and the Freight summary from the other conditions."""
        self.status["freightSummary"] = self._freight_summary()
        last = (self.status.get("lastPromotion") or {}).get("status") or {}
        if promoting := get_condition(self.status, "Promoting"):
            self._set("Ready", "False", promoting["reason"], promoting["message"])
        elif last and last["phase"] != "Succeeded":
            self._set("Ready", "False", f"LastPromotion{last['phase']}", last.get("message", ""))
        elif (healthy := self._or("Healthy", "Unhealthy", "Stage is not healthy"))["status"] != "True":
            self._set("Ready", "False", healthy["reason"], healthy["message"])
        elif (verified := self._or("Verified", "PendingVerification", "Stage is not verified"))["status"] != "True":
            self._set("Ready", "False", verified["reason"], verified["message"])
        else:
            self._set("Ready", "True", verified["reason"], verified["message"])
            self.status["observedGeneration"] = self._generation

    def _freight_summary(self) -> str:
        requested = len(self._stage["spec"].get("requestedFreight") or [])
        collection = self._collection()
        if collection is None:
            return f"0/{requested} Fulfilled"
        items = list(collection["items"].values())
        if requested == 1 and len(items) == 1:
            return str(items[0]["name"])
        return f"{len(items)}/{requested} Fulfilled"

    def _or(self, kind: str, reason: str, message: str) -> Obj:
        missing = {"status": "Unknown", "reason": reason, "message": message}
        return get_condition(self.status, kind) or missing

    def _collection(self) -> Obj | None:
        history = self.status.get("freightHistory") or []
        return history[0] if history else None

    def _is_verifying(self) -> bool:
        history = (self._collection() or {}).get("verificationHistory") or []
        return any(info.get("phase") not in VERIFICATION_ENDS for info in history)

    def _origins(self) -> list[str]:
        return [origin_key(request["origin"]) for request in self._stage["spec"].get("requestedFreight") or []]

    def _set(self, kind: str, truth: Truth, reason: str, message: str = "") -> None:
        set_condition(self.status, kind, truth, reason, message, generation=self._generation)


def _asked_for(stage: Obj) -> tuple[object, ...]:
    annotations = annotations_of(stage)
    return (
        generation_of(stage),
        is_deleted(stage),
        annotations.get(ANNOTATION_REFRESH),
        reverify_request(annotations),
        abort_verification_request(annotations),
    )


def _app_state(app: Obj) -> tuple[object, ...]:
    status = status_of(app)
    operation = status.get("operationState") or {}
    return (
        status.get("health"),
        status.get("sync"),
        status.get("conditions"),
        operation.get("phase"),
        operation.get("finishedAt"),
        needs_reconciliation(app),
    )


def _health_checks(status: Obj) -> list[Obj]:
    last = (status.get("lastPromotion") or {}).get("status") or {}
    return last.get("healthChecks") or []


def _is_over(promotion: Obj) -> bool:
    return status_of(promotion).get("phase") in PROMOTION_ENDS


def _turn(promotion: Obj) -> tuple[bool, bool, str]:
    """Running before waiting before ended; among equals the older first."""
    return _is_over(promotion), status_of(promotion).get("phase") != "Running", name_of(promotion)


def _hold(promotion: Obj, origin: str) -> Obj:
    kind, _, name = origin.partition("/")
    hold: Obj = {
        "freightName": promotion["spec"]["freight"],
        "origin": {"kind": kind, "name": name},
        "promotionName": name_of(promotion),
        "createdAt": promotion["metadata"]["creationTimestamp"],
    }
    if actor := annotations_of(promotion).get(ANNOTATION_CREATE_ACTOR):
        hold["actor"] = actor
    return hold


def _less(places: Obj, stage: str) -> Obj | None:
    """The patch that takes a Stage from a map of Stages; a map that would be empty goes as a whole."""
    return {stage: None} if len(places) > 1 else None


def _departure(freight: Obj, stage: str) -> Obj:
    """The patch of a Freight's status when it leaves a Stage: its soak ends."""
    status = status_of(freight)
    patch: Obj = {"currentlyIn": _less(status["currentlyIn"], stage)}
    since = status["currentlyIn"][stage].get("since")
    verified = (status.get("verifiedIn") or {}).get(stage)
    if since and verified is not None:
        patch["verifiedIn"] = {stage: {"longestSoak": format_duration(longest_soak(freight, stage))}}
    return patch


def _unconditional() -> Obj:
    """A Stage without verification counts as verified."""
    return {"id": str(uuid.uuid4()), "startTime": now(), "finishTime": now(), "phase": "Successful"}
