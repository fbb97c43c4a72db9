"""Verification of a Stage's Freight: AnalysisRuns made from AnalysisTemplates, and what comes of them."""

from __future__ import annotations

import copy
import uuid

from labkit.asynckube.objects import Obj, labels_of, name_of, namespace_of, now, status_of
from labkit.asynckube.server import ApiError
from labkit.kargolite.expressions import ExpressionError, evaluate_template
from labkit.kargolite.functions import freight_functions
from labkit.kargolite.identity import analysis_run_name
from labkit.kargolite.model import (
    ANALYSIS_TEMPLATE,
    ANNOTATION_PROMOTION,
    API_VERSION,
    CLUSTER_ANALYSIS_TEMPLATE,
    LABEL_ANALYSIS_CONTROLLER,
    LABEL_FREIGHT_COLLECTION,
    LABEL_STAGE,
)
from labkit.kargolite.requests import Request
from labkit.kargolite.world import World


class VerificationError(Exception):
    """An AnalysisRun cannot be made."""


async def start_verification(
    world: World, stage: Obj, collection: Obj, last_promotion: Obj | None, request: Request | None
) -> Obj:
    """Verify the Freight that a Stage has.

    An AnalysisRun of the same Freight in the same Stage counts again, unless a fresh one was requested.

    Args:
        world: Where AnalysisTemplates and AnalysisRuns are.
        stage: The Stage.
        collection: The first entry of its Freight history.
        last_promotion: Its `status.lastPromotion`.
        request: The re-verification that its annotation asks for, if any.

    Returns:
        A new entry for the collection's verification history.
    """
    history = collection.get("verificationHistory") or []
    current = history[0] if history else None
    info: Obj = {"id": str(uuid.uuid4()), "startTime": now()}
    requested = bool(request and current and request.subject == current["id"])
    if requested and request and request.actor:
        info["actor"] = request.actor
    if request is None and (existing := _existing_run(world, stage, collection)):
        return info | {"finishTime": now(), **_run_facts(existing)}
    try:
        run = await _build_run(world, stage, collection)
    except (VerificationError, ExpressionError) as error:
        message = (
            f'error building AnalysisRun for Stage "{name_of(stage)}" and Freight collection "{collection["id"]}" '
            f'in namespace "{namespace_of(stage)}": {error}'
        )
        return info | {"finishTime": now(), "phase": "Error", "message": message}
    if current is None and last_promotion:
        run["metadata"]["annotations"] = {ANNOTATION_PROMOTION: last_promotion["name"]} | (
            run["metadata"].get("annotations") or {}
        )
    try:
        run = await world.analysis_runs.create(run)
    except ApiError as error:
        if not error.is_invalid:
            raise
        message = f'error creating AnalysisRun "{name_of(run)}" in namespace "{namespace_of(run)}": {error.what}'
        return info | {"finishTime": now(), "phase": "Error", "message": message}
    facts = {"analysisRun": {"name": name_of(run), "namespace": namespace_of(run), "phase": ""}}
    return info | {"finishTime": run["metadata"]["creationTimestamp"], "phase": "Pending", **facts}


def verification_result(world: World, info: Obj) -> Obj:
    """The entry of the verification history as its AnalysisRun stands now."""
    reference = info["analysisRun"]
    run = world.analysis_runs.get(reference["namespace"], reference["name"])
    if run is None:
        message = (
            f'error getting AnalysisRun "{reference["name"]}" in namespace "{reference["namespace"]}": '
            f'analysisruns.argoproj.io "{reference["name"]}" not found'
        )
        return info | {"phase": "Error", "message": message}
    if not status_of(run).get("phase"):
        return info
    result = {key: value for key, value in info.items() if key not in ("finishTime", "message")} | _run_facts(run)
    if completed := status_of(run).get("completedAt"):
        result["finishTime"] = completed
    return result


async def abort_verification(world: World, info: Obj, request: Request) -> Obj:
    """End a verification that is under way."""
    reference = info["analysisRun"]
    run = {"metadata": {"namespace": reference["namespace"], "name": reference["name"]}}
    aborted = info | {"finishTime": now(), "phase": "Failed", "message": "Verification aborted by user"}
    if request.actor:
        aborted["actor"] = request.actor
    try:
        await world.analysis_runs.patch(run, {"spec": {"terminate": True}})
    except ApiError as error:
        aborted["phase"] = "Error"
        aborted["message"] = (
            f'error terminating AnalysisRun "{reference["name"]}" in namespace "{reference["namespace"]}": {error.what}'
        )
    return aborted


def _run_facts(run: Obj) -> Obj:
    phase = status_of(run).get("phase") or "Pending"
    facts: Obj = {
        "phase": phase,
        "analysisRun": {"name": name_of(run), "namespace": namespace_of(run), "phase": phase},
    }
    if message := status_of(run).get("message"):
        facts["message"] = message
    return facts


def _existing_run(world: World, stage: Obj, collection: Obj) -> Obj | None:
    runs = [
        run
        for run in world.analysis_runs.all(namespace_of(stage))
        if labels_of(run).get(LABEL_STAGE) == name_of(stage)
        and labels_of(run).get(LABEL_FREIGHT_COLLECTION) == collection["id"]
    ]
    return max(runs, key=lambda run: (run["metadata"]["creationTimestamp"], name_of(run)), default=None)


async def _build_run(world: World, stage: Obj, collection: Obj) -> Obj:
    wanted = stage["spec"]["verification"]
    namespace = namespace_of(stage)
    templates = [await _template(world, namespace, reference) for reference in wanted.get("analysisTemplates") or []]
    metadata = wanted.get("analysisRunMetadata") or {}
    shard = world.shard_of(stage)
    spec: Obj = {"metrics": _unique(templates, "metrics", "name")}
    for field in ("dryRun", "measurementRetention"):
        if items := _unique(templates, field, "metricName"):
            spec[field] = items
    if arguments := _arguments(templates, _given_arguments(world, stage, collection)):
        spec["args"] = arguments
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {
            "name": analysis_run_name(name_of(stage), collection["id"]),
            "namespace": namespace,
            "annotations": dict(metadata.get("annotations") or {}),
            "labels": {
                **(metadata.get("labels") or {}),
                LABEL_STAGE: name_of(stage),
                LABEL_FREIGHT_COLLECTION: collection["id"],
                LABEL_ANALYSIS_CONTROLLER: shard.name if shard else "",
            },
            "ownerReferences": [_owner(world, namespace, item["name"]) for item in collection["items"].values()],
        },
        "spec": spec,
    }


def _owner(world: World, namespace: str, name: str) -> Obj:
    freight = world.freight.get(namespace, name)
    if freight is None:
        raise VerificationError(f'get Freight "{name}" in namespace "{namespace}": not found')
    return {
        "apiVersion": API_VERSION,
        "kind": "Freight",
        "name": name,
        "uid": freight["metadata"]["uid"],
        "blockOwnerDeletion": False,
    }


async def _template(world: World, namespace: str, reference: Obj) -> Obj:
    cluster_wide = reference.get("kind") == "ClusterAnalysisTemplate"
    resource = CLUSTER_ANALYSIS_TEMPLATE if cluster_wide else ANALYSIS_TEMPLATE
    place = "" if cluster_wide else namespace
    template = await world.server.find(resource, place, reference["name"])
    if template is None:
        where = "" if cluster_wide else f' in namespace "{namespace}"'
        raise VerificationError(
            f'get analysis templates: get {resource.kind} "{reference["name"]}"{where}: '
            f'{resource.plural}.argoproj.io "{reference["name"]}" not found'
        )
    spec: Obj = template["spec"]
    return spec


def _unique(templates: list[Obj], field: str, name: str) -> list[Obj]:
    items: dict[str, Obj] = {}
    for template in templates:
        for item in template.get(field) or []:
            if item[name] in items:
                raise VerificationError(f'build spec: flatten templates: duplicate metric name: "{item[name]}"')
            items[item[name]] = _as_kargo_writes(item)
    return list(items.values())


def _as_kargo_writes(item: Obj) -> Obj:
    """Fill in the empty parts that Kargo's Go types add, so that the run reads like one of Kargo's."""
    item = copy.deepcopy(item)
    provider = item.get("provider") or {}
    for kind in ("web", "prometheus"):
        if kind in provider:
            authentication = provider[kind].setdefault("authentication", {})
            authentication.setdefault("oauth2", {})
            authentication.setdefault("sigv4", {})
    if "job" in provider:
        provider["job"].setdefault("metadata", {})
        pod = provider["job"]["spec"]["template"]
        pod.setdefault("metadata", {})
        for container in pod["spec"]["containers"]:
            container.setdefault("resources", {})
    return item


def _given_arguments(world: World, stage: Obj, collection: Obj) -> dict[str, str]:
    namespace, spec = namespace_of(stage), stage["spec"]
    items = collection["items"]
    functions = freight_functions(
        spec.get("requestedFreight") or [],
        [items[origin] for origin in sorted(items)],
        lambda name: world.warehouses.get(namespace, name),
        lambda name: world.secrets.get(namespace, name),
    )
    names: Obj = {"ctx": {"project": namespace, "stage": name_of(stage)}, "vars": {}}
    for variable in spec.get("vars") or []:
        names["vars"][variable["name"]] = evaluate_template(variable.get("value", ""), names, functions)
    given = {}
    for argument in spec["verification"].get("args") or []:
        if argument.get("value"):
            value = evaluate_template(argument["value"], names, functions)
            if not isinstance(value, str):
                raise VerificationError(
                    f'build spec: build arguments: evaluated argument "{argument["name"]}" value is not a string '
                    f"but {_go_type(value)}"
                )
            given[argument["name"]] = value
    return given


def _arguments(templates: list[Obj], given: dict[str, str]) -> list[Obj]:
    arguments: dict[str, Obj] = {}
    for template in templates:
        for argument in template.get("args") or []:
            known = arguments.setdefault(argument["name"], dict(argument))
            values = {item["value"] for item in (known, argument) if item.get("value") is not None}
            if len(values) > 1:
                shown = " and ".join(f'"{value}"' for value in sorted(values))
                raise VerificationError(
                    f"build spec: flatten templates: flatten arguments: conflicting values for argument "
                    f'"{argument["name"]}": {shown}'
                )
            if values:
                known["value"] = values.pop()
    for name, value in given.items():
        if name in arguments:
            arguments[name]["value"] = value
    for name, argument in arguments.items():
        if argument.get("value") is None and argument.get("valueFrom") is None:
            raise VerificationError(
                "build spec: build arguments: merge arguments: validate merged arguments: "
                f'unresolved argument "{name}": neither Value nor ValueFrom is set'
            )
    return list(arguments.values())


def _go_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "float64"
    if isinstance(value, list):
        return "[]interface {}"
    return "<nil>" if value is None else "map[string]interface {}"
