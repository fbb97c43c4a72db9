"""Warehouses: discover images, and make Freight of the newest."""

from __future__ import annotations

import asyncio
import copy

from labkit.asynckube.objects import (
    Key,
    Obj,
    annotations_of,
    generation_of,
    is_deleted,
    key_of,
    name_of,
    namespace_of,
    now,
    seconds_since,
    status_of,
)
from labkit.asynckube.server import ApiError
from labkit.kargolite.conditions import Truth, remove_condition, set_condition
from labkit.kargolite.controller import Controller, Retry
from labkit.kargolite.durations import parse_duration
from labkit.kargolite.expressions import ExpressionError, Record, TextMap, evaluate_expression
from labkit.kargolite.identity import freight_id
from labkit.kargolite.model import ANNOTATION_REFRESH, API_VERSION
from labkit.kargolite.registry import DiscoveryError, ImageRegistry
from labkit.kargolite.world import World


class WarehouseReconciler:
    """Reconciles Warehouses when they change, are refreshed, or their interval is over."""

    def __init__(self, world: World, registry: ImageRegistry) -> None:
        self._world = world
        self._registry = registry
        self.controller = Controller("Warehouse", self._reconcile)
        world.warehouses.on_change(self._changed)

    def _changed(self, before: Obj | None, after: Obj | None) -> None:
        if after and (before is None or _asked_for(before) != _asked_for(after)):
            self.controller.add(key_of(after))

    async def _reconcile(self, key: Key) -> float | None:
        warehouse = self._world.warehouses.get(*key)
        if warehouse is None or is_deleted(warehouse) or self._world.shard_of(warehouse) is None:
            return None
        work = _Sync(self._world, self._registry, warehouse)
        try:
            await work.run()
        except DiscoveryError as error:
            work.discovery_failed(error)
            raise Retry(f"discovery failed: {error.what}") from error
        finally:
            await self._world.warehouses.patch_status(work.warehouse, work.status)
        return parse_duration(warehouse["spec"].get("interval") or "5m0s")


class _Sync:
    """One look at one Warehouse."""

    def __init__(self, world: World, registry: ImageRegistry, warehouse: Obj) -> None:
        self._world = world
        self._registry = registry
        self.warehouse = warehouse
        self.status = copy.deepcopy(status_of(warehouse))

    async def run(self) -> None:
        subscriptions = self.warehouse["spec"].get("subscriptions") or []
        handled = self.status.get("lastHandledRefresh")
        if token := annotations_of(self.warehouse).get(ANNOTATION_REFRESH):
            self.status["lastHandledRefresh"] = token
        if self._is_due(handled != self.status.get("lastHandledRefresh")):
            await self._announce(len(subscriptions))
            self.status["discoveredArtifacts"] = await self._discover(subscriptions)
        self.status["observedGeneration"] = generation_of(self.warehouse)
        if self._nothing_found():
            remove_condition(self.status, "Reconciling")
            return
        automatic = (self.warehouse["spec"].get("freightCreationPolicy") or "Automatic") == "Automatic"
        if automatic and not await self._create_freight():
            remove_condition(self.status, "Reconciling")
            return
        self._set("Healthy", "True", "ReconciliationSucceeded")
        message = f"Successfully discovered artifacts from {len(subscriptions)} subscriptions"
        self._set("Ready", "True", "ArtifactsDiscovered", message)
        remove_condition(self.status, "Reconciling")

    def discovery_failed(self, error: DiscoveryError) -> None:
        """Say so in the conditions."""
        said = f"error discovering artifacts: {error.what}"
        self._set("Healthy", "False", "DiscoveryFailed", f"Unable to discover artifacts: {said}")
        self._set("Ready", "False", "DiscoveryFailure", f"Artifact discovery failed: {said}")

    def _is_due(self, refreshed: bool) -> bool:
        discovered_at = (self.status.get("discoveredArtifacts") or {}).get("discoveredAt")
        return (
            refreshed
            or not discovered_at
            or generation_of(self.warehouse) > self.status.get("observedGeneration", 0)
            or seconds_since(discovered_at) >= parse_duration(self.warehouse["spec"].get("interval") or "5m0s")
        )

    async def _announce(self, subscriptions: int) -> None:
        self._set(
            "Reconciling",
            "True",
            "ScheduledDiscovery",
            f"Discovering artifacts for {subscriptions} subscriptions",
        )
        self._set("Ready", "False", "DiscoveryInProgress", "Waiting for discovery to complete")
        message = "Health status cannot be determined until artifact discovery is finished"
        self._set("Healthy", "Unknown", "Pending", message)
        remove_condition(self.status, "FreightCreationCriteriaSatisfied")
        remove_condition(self.status, "FreightCreated")
        shown = status_of(self.warehouse) | {"conditions": copy.deepcopy(self.status["conditions"])}
        self.warehouse = await self._world.warehouses.patch_status(self.warehouse, shown)

    async def _discover(self, subscriptions: list[Obj]) -> Obj:
        for subscription in subscriptions:
            for kind in subscription:
                if kind != "image":
                    raise DiscoveryError(
                        f"{kind} subscriptions are not part of kargolite; the genuine Kargo engine has them"
                    )
        images = await asyncio.gather(*(self._registry.discover(item["image"]) for item in subscriptions))
        found: Obj = {"discoveredAt": now()}
        if images:
            found["images"] = list(images)
        return found

    def _nothing_found(self) -> bool:
        images = self.status["discoveredArtifacts"].get("images") or []
        if not images:
            self._set("Healthy", "False", "MissingArtifacts", "No artifacts discovered")
            self._set("Ready", "False", "MissingArtifacts", "No artifacts discovered")
            return True
        for image in images:
            if not image.get("references"):
                message = f'No references discovered for image repository "{image["repoURL"]}"'
                self._set("Healthy", "False", "NoImageReferencesDiscovered", message)
                self._set("Ready", "False", "MissingImageReferences", message)
                return True
        return False

    async def _create_freight(self) -> bool:
        images = self.status["discoveredArtifacts"]["images"]
        try:
            satisfied = _criteria_satisfied(self.warehouse["spec"].get("freightCreationCriteria"), images)
        except ExpressionError as error:
            message = f"Evaluation of Freight creation criteria failed: {error}"
            self._set("Healthy", "False", "CriteriaEvaluationFailed", message)
            self._set("Ready", "False", "CriteriaEvaluationFailed", message)
            return False
        criteria = "FreightCreationCriteriaSatisfied"
        if not satisfied:
            self._set(criteria, "False", "CriteriaNotSatisfied", "Freight creation criteria were not satisfied")
            return True
        self._set("Reconciling", "True", "FreightCreationInProgress", "Creating Freight from latest artifacts")
        self._set(criteria, "True", "CriteriaSatisfied", "Freight creation criteria satisfied")
        freight = _newest(self.warehouse, images)
        try:
            freight = await self._world.freight.create(freight)
        except ApiError as error:
            if not error.is_conflict:
                # As in Kargo, the name that admission replaces: it does not count the origin yet.
                name = freight_id(freight | {"origin": {"kind": "", "name": ""}})
                message = f'Error creating Freight "{name}" in namespace "{namespace_of(freight)}": '
                self._set("Healthy", "False", "FreightBuildFailure", message + error.what)
                self._set("Ready", "False", "FreightCreationFailure", message + error.what)
                raise Retry(message + error.what) from error
            message = "Freight composed of the newest artifacts already exists"
            self._set("FreightCreated", "False", "AlreadyExists", message)
        else:
            message = "No Freight composed of the newest artifacts already existed"
            self._set("FreightCreated", "True", "NewFreight", message)
            self._world.events.freight(
                "FreightCreated",
                "Freight created from discovered artifacts",
                self._world.component("warehouse", self.warehouse),
                freight,
            )
        self.status["lastFreightID"] = name_of(freight)
        return True

    def _set(self, kind: str, truth: Truth, reason: str, message: str = "") -> None:
        set_condition(self.status, kind, truth, reason, message, generation=generation_of(self.warehouse))


def _asked_for(warehouse: Obj) -> tuple[int, str | None]:
    return generation_of(warehouse), annotations_of(warehouse).get(ANNOTATION_REFRESH)


def _newest(warehouse: Obj, images: list[Obj]) -> Obj:
    freight: Obj = {
        "apiVersion": API_VERSION,
        "kind": "Freight",
        "metadata": {"namespace": namespace_of(warehouse)},
        "origin": {"kind": "Warehouse", "name": name_of(warehouse)},
        "images": [
            {"repoURL": image["repoURL"]}
            | {key: value for key, value in image["references"][0].items() if key != "createdAt"}
            for image in images
        ],
    }
    freight["metadata"]["name"] = freight_id(freight)
    return freight


def _criteria_satisfied(criteria: Obj | None, images: list[Obj]) -> bool:
    expression = ((criteria or {}).get("expression") or "").strip()
    if not expression:
        return True
    newest = {image["repoURL"]: image["references"][0] for image in images}

    def image_from(repo_url: str) -> Record | None:
        found = newest.get(repo_url)
        if found is None:
            return None
        fields = {"Tag": found["tag"], "Digest": found["digest"], "CreatedAt": found.get("createdAt")}
        return Record("DiscoveredImageReference", fields | {"Annotations": TextMap(found.get("annotations") or {})})

    value = evaluate_expression(expression, {}, {"imageFrom": image_from})
    if not isinstance(value, bool):
        raise ExpressionError(f'failed to parse freight creation criteria expression result "{value}" as bool')
    return value
