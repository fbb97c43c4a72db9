"""Projects and ProjectConfigs: the namespace with its label, and what the status says."""

from __future__ import annotations

import copy

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import (
    NAMESPACE,
    Key,
    Obj,
    annotations_of,
    generation_of,
    is_deleted,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    status_of,
)
from labkit.asynckube.server import ApiError
from labkit.kargolite.conditions import get_condition, remove_condition, set_condition
from labkit.kargolite.controller import Controller, Retry
from labkit.kargolite.model import ANNOTATION_KEEP_NAMESPACE, FINALIZER, LABEL_PROJECT
from labkit.kargolite.world import World

_LOOK_AGAIN = 300.0


class ProjectReconciler:
    """Keeps each Project's namespace, counts its Stages and Warehouses, and cleans up after it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.controller = Controller("Project", self._reconcile)
        world.projects.on_change(self._project_changed)
        world.namespaces.on_change(self._namespace_changed)
        for informer in (world.stages, world.warehouses):
            informer.on_change(self._member_changed)

    def _project_changed(self, before: Obj | None, after: Obj | None) -> None:
        if after and (before is None or _differs(before, after)):
            self.controller.add(key_of(after))

    def _namespace_changed(self, before: Obj | None, after: Obj | None) -> None:
        namespace = after or before
        if namespace and self._world.projects.get("", name_of(namespace)):
            self.controller.add(Key("", name_of(namespace)))

    def _member_changed(self, before: Obj | None, after: Obj | None) -> None:
        member = after or before
        if member and (before is None or after is None or _health(before) != _health(after)):
            self.controller.add(Key("", namespace_of(member)))

    async def _reconcile(self, key: Key) -> float | None:
        project = self._world.projects.get("", key.name)
        if project is None:
            return None
        namespace = self._world.namespaces.get("", key.name)
        if is_deleted(project):
            await self._clean_up(project, namespace)
            return None
        if namespace and is_deleted(namespace) and LABEL_PROJECT in labels_of(namespace):
            await self._world.server.delete(self._world.projects.resource, "", key.name)
            return None
        project = await ensure_finalizer(self._world.projects, project)
        status = copy.deepcopy(status_of(project))
        try:
            await self._ensure_namespace(project, namespace)
        except ApiError as error:
            self._not_ready(status, project, f"error creating namespace {key.name!r}: {error.what}")
        except _ForeignNamespaceError as error:
            set_condition(
                status,
                "Stalled",
                "True",
                "ExistingNamespaceMissingLabel",
                f'Namespace "{key.name}" already exists but is not labeled as a Project namespace using label '
                f'"{LABEL_PROJECT}"',
                generation=generation_of(project),
            )
            self._not_ready(status, project, str(error))
        else:
            remove_condition(status, "Stalled")
            remove_condition(status, "Reconciling")
            set_condition(
                status,
                "Ready",
                "True",
                "Synced",
                "Project is synced and ready for use",
                generation=generation_of(project),
            )
        status["stats"] = self._stats(key.name)
        await self._world.projects.patch_status(project, status)
        ready = get_condition(status, "Ready")
        if ready and ready["status"] != "True":
            raise Retry(ready["message"])
        return _LOOK_AGAIN

    def _not_ready(self, status: Obj, project: Obj, why: str) -> None:
        message = f"Failed to ensure existence of project namespace: {why}"
        generation = generation_of(project)
        set_condition(status, "Ready", "False", "EnsuringNamespaceFailed", message, generation=generation)

    async def _ensure_namespace(self, project: Obj, namespace: Obj | None) -> None:
        name = name_of(project)
        namespace = namespace or await self._world.namespaces.read("", name)
        if namespace is None:
            await self._world.namespaces.create(new_namespace(name))
            return
        if labels_of(namespace).get(LABEL_PROJECT) != "true":
            raise _ForeignNamespaceError(
                f'failed to sync Project "{name}" with namespace "{name}": '
                "namespace already exists and is not labeled as a Project namespace"
            )
        await ensure_finalizer(self._world.namespaces, namespace)

    async def _clean_up(self, project: Obj, namespace: Obj | None) -> None:
        if namespace and labels_of(namespace).get(LABEL_PROJECT) == "true":
            keep = "true" in (
                annotations_of(project).get(ANNOTATION_KEEP_NAMESPACE),
                annotations_of(namespace).get(ANNOTATION_KEEP_NAMESPACE),
            )
            await remove_finalizer(self._world.namespaces, namespace)
            if not keep and not is_deleted(namespace):
                await self._world.server.delete(NAMESPACE, "", name_of(namespace))
        await remove_finalizer(self._world.projects, project)

    def _stats(self, namespace: str) -> Obj:
        warehouses = list(self._world.warehouses.all(namespace))
        stages = list(self._world.stages.all(namespace))
        return {
            "warehouses": {"count": len(warehouses), "health": {"healthy": sum(map(_is_healthy, warehouses))}},
            "stages": {"count": len(stages), "health": {"healthy": sum(map(_is_healthy, stages))}},
        }


class ProjectConfigReconciler:
    """Says that a ProjectConfig is in use: its policies are read when a Stage is reconciled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.controller = Controller("ProjectConfig", self._reconcile)
        world.project_configs.on_change(self._changed)

    def _changed(self, before: Obj | None, after: Obj | None) -> None:
        if after and (before is None or _differs(before, after)):
            self.controller.add(key_of(after))

    async def _reconcile(self, key: Key) -> float | None:
        config = self._world.project_configs.get(*key)
        if config is None:
            return None
        status = copy.deepcopy(status_of(config))
        generation = generation_of(config)
        if (config.get("spec") or {}).get("webhookReceivers"):
            message = "webhook receivers are not part of kargolite; the genuine Kargo engine has them"
            set_condition(status, "Ready", "False", "SyncWebhookReceiversFailed", message, generation=generation)
        else:
            message = "ProjectConfig is synced and ready for use"
            set_condition(status, "Ready", "True", "Synced", message, generation=generation)
        status["observedGeneration"] = generation
        await self._world.project_configs.patch_status(config, status)
        return None


class _ForeignNamespaceError(Exception):
    """A namespace of the Project's name is there, and is not marked as a Project's."""


def new_namespace(project: str) -> Obj:
    """The namespace of a Project, as Kargo creates it."""
    return {"metadata": {"name": project, "labels": {LABEL_PROJECT: "true"}, "finalizers": [FINALIZER]}}


async def ensure_finalizer(informer: Informer, obj: Obj) -> Obj:
    """Make sure that the object is not gone before it was cleaned up after."""
    finalizers = obj["metadata"].get("finalizers") or []
    if FINALIZER in finalizers or is_deleted(obj):
        return obj
    return await informer.patch(obj, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})


async def remove_finalizer(informer: Informer, obj: Obj) -> None:
    """Let the object go."""
    finalizers = obj["metadata"].get("finalizers") or []
    if FINALIZER in finalizers:
        rest = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
        try:
            await informer.patch(obj, {"metadata": {"finalizers": rest}})
        except ApiError as error:
            if not error.is_missing:
                raise


def _differs(before: Obj, after: Obj) -> bool:
    return generation_of(before) != generation_of(after) or is_deleted(before) != is_deleted(after)


def _health(obj: Obj) -> str:
    condition = get_condition(status_of(obj), "Healthy")
    return condition["status"] if condition else ""


def _is_healthy(obj: Obj) -> bool:
    return _health(obj) == "True"
