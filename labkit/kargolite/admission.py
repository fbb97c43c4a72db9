"""What is filled in and what is refused when Kargo's resources are created or changed."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from labkit.asynckube.objects import Obj, annotations_of, labels_of, name_of, namespace_of, now, status_of
from labkit.kargolite.availability import auto_promotion_candidates, is_available
from labkit.kargolite.identity import freight_id, promotion_name
from labkit.kargolite.model import (
    ACCESS_REVIEW,
    ANNOTATION_ABORT,
    ANNOTATION_CREATE_ACTOR,
    ANNOTATION_HOLD,
    ANNOTATION_RESUME,
    ANNOTATION_REVERIFY,
    ANNOTATION_STAGE,
    API_VERSION,
    GROUP,
    LABEL_ALIAS,
    LABEL_PROJECT,
    LABEL_SHARD,
    LABEL_STAGE,
    origin_key,
)
from labkit.kargolite.projects import new_namespace
from labkit.kargolite.refusals import (
    FieldProblem,
    Refusal,
    conflict,
    forbidden,
    internal,
    invalid,
    missing_namespace,
)
from labkit.kargolite.requests import (
    Request,
    abort_promotion_request,
    abort_verification_request,
    reverify_request,
)
from labkit.kargolite.versions import parse_constraint
from labkit.kargolite.world import World
from labkit.paths import DATA

_RESERVED_ALIAS = re.compile(r"(step|task)-\d+")
_IMAGE_REPOSITORY = re.compile(r"(\w+([.-]\w+)*(:\d+)?/)?(\w+([.-]\w+)*)(/\w+([.-]\w+)*)*", re.ASCII)
_STRATEGIES = ("Digest", "Lexical", "NewestBuild", "SemVer")
# The order in which Kargo shows the fields of its types.
_PROMOTION_FIELDS = ("stage", "freight", "origin", "vars", "steps")
_STEP_FIELDS = ("uses", "task", "as", "if", "continueOnError", "retry", "vars", "config")
_ARTIFACTS = ("commits", "images", "charts", "artifacts")


@dataclass(frozen=True)
class Review:
    """An admission request.

    Attributes:
        operation: `CREATE`, `UPDATE` or `DELETE`.
        obj: The object as it would be (as it is, for `DELETE`).
        before: The object as it is, None for `CREATE`.
        user: Who asks.
        groups: The groups of who asks.
        dry_run: Whether nothing may be written on the way.
    """

    operation: str
    obj: Obj
    before: Obj | None
    user: str
    groups: tuple[str, ...]
    dry_run: bool

    @property
    def creates(self) -> bool:
        """Whether the object is new."""
        return self.operation == "CREATE"

    @property
    def actor(self) -> str:
        """Who asks, as Kargo writes it down."""
        return f"kubernetes:{self.user}"


Mutate = Callable[[Review], Awaitable[Obj]]
Validate = Callable[[Review], Awaitable[None]]


class Admission:
    """The admission rules for each kind, by the last part of the webhooks' paths."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.mutating: dict[str, Mutate] = {
            "promotion": self._fill_in_promotion,
            "freight": self._fill_in_freight,
            "stage": self._fill_in_stage,
            "warehouse": self._fill_in_warehouse,
        }
        self.validating: dict[str, Validate] = {
            "promotion": self._check_promotion,
            "freight": self._check_freight,
            "stage": self._check_stage,
            "warehouse": self._check_warehouse,
            "project": self._check_project,
            "projectconfig": self._check_project_config,
            "promotiontask": self._refuse_tasks,
            "clusterpromotiontask": self._refuse_tasks,
            "clusterconfig": self._admit,
        }

    # Promotions

    async def _fill_in_promotion(self, review: Review) -> Obj:
        promotion = copy.deepcopy(review.obj)
        spec, namespace = promotion["spec"], namespace_of(promotion)
        stage = await self._world.stages.read(namespace, spec["stage"])
        if stage is None:
            detail = f'could not find Stage "{spec["stage"]}" in namespace "{namespace}"'
            raise invalid("Promotion", name_of(promotion), [FieldProblem("spec.stage", spec["stage"], detail)])
        metadata = promotion["metadata"]
        annotations: dict[str, str] = metadata.setdefault("annotations", {})
        if review.creates:
            await self._fill_in_new_promotion(review, promotion, stage)
        else:
            for key in (ANNOTATION_CREATE_ACTOR, ANNOTATION_HOLD, ANNOTATION_RESUME):
                _keep(annotations, key, annotations_of(review.before or {"metadata": {}}))
        _sign(annotations, ANNOTATION_ABORT, "action", review, abort_promotion_request)
        labels: dict[str, str] = metadata.setdefault("labels", {})
        _set_shard(labels, stage["spec"].get("shard"))
        labels[LABEL_STAGE] = spec["stage"]
        annotations[ANNOTATION_STAGE] = spec["stage"]
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": "Stage",
                "name": name_of(stage),
                "uid": stage["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        return promotion

    async def _fill_in_new_promotion(self, review: Review, promotion: Obj, stage: Obj) -> None:
        spec, annotations = promotion["spec"], promotion["metadata"]["annotations"]
        if spec.get("origin") and not spec.get("freight"):
            spec["freight"] = self._candidate(promotion, stage)
            del spec["origin"]
        promotion["metadata"]["name"] = promotion_name(name_of(stage), spec.get("freight", ""))
        annotations[ANNOTATION_CREATE_ACTOR] = review.actor
        template = (stage["spec"].get("promotionTemplate") or {}).get("spec") or {}
        if not template.get("steps"):
            detail = f'Stage "{spec["stage"]}" in namespace "{namespace_of(promotion)}" defines no promotion steps'
            problem = FieldProblem("spec.stage", spec["stage"], detail)
            raise invalid("Promotion", name_of(promotion), [problem])
        spec["steps"] = [_with_alias(step, index) for index, step in enumerate(template["steps"])]
        variables = [*(stage["spec"].get("vars") or []), *(template.get("vars") or [])]
        spec.pop("vars", None)
        if variables:
            spec["vars"] = variables
        self._note_intent(promotion, stage)

    def _candidate(self, promotion: Obj, stage: Obj) -> str:
        origin = origin_key(promotion["spec"]["origin"])
        candidates = auto_promotion_candidates(stage, self._world.freight.all(namespace_of(stage)))
        if origin not in candidates:
            detail = f'no auto-promotion candidate found for origin "{origin}" on Stage "{name_of(stage)}"'
            raise invalid("Promotion", name_of(promotion), [FieldProblem("spec.origin", origin, detail)])
        return name_of(candidates[origin])

    def _note_intent(self, promotion: Obj, stage: Obj) -> None:
        """Promoting what would be promoted anyway ends a hold; promoting anything else begins one."""
        annotations = promotion["metadata"]["annotations"]
        annotations.pop(ANNOTATION_HOLD, None)
        annotations.pop(ANNOTATION_RESUME, None)
        namespace, name = namespace_of(promotion), promotion["spec"].get("freight", "")
        freight = self._world.freight.get(namespace, name)
        if freight is None or not self._world.auto_promotion_enabled(stage):
            return
        origin = origin_key(freight["origin"])
        candidate = auto_promotion_candidates(stage, self._world.freight.all(namespace)).get(origin)
        resumes = candidate is not None and name_of(candidate) == name
        annotations[ANNOTATION_RESUME if resumes else ANNOTATION_HOLD] = origin

    async def _check_promotion(self, review: Review) -> None:
        promotion, spec = review.obj, review.obj["spec"]
        if review.creates:
            await self._require_project(promotion)
        await self._authorize(review)
        if review.operation == "UPDATE" and review.before and review.before["spec"] != spec:
            shown = _in_order(spec, _PROMOTION_FIELDS) | {
                "steps": [_in_order(step, _STEP_FIELDS) for step in spec.get("steps") or []]
            }
            raise invalid("Promotion", name_of(promotion), [FieldProblem("spec", shown, "spec is immutable")])
        if not review.creates:
            return
        if bool(spec.get("freight")) == bool(spec.get("origin")):
            detail = "exactly one of spec.freight or spec.origin must be set"
            raise invalid("Promotion", name_of(promotion), [FieldProblem("spec", spec, detail)])
        namespace = namespace_of(promotion)
        stage = await self._world.stages.read(namespace, spec["stage"])
        freight = await self._world.freight.read(namespace, spec["freight"]) if spec.get("freight") else None
        if stage is None or not is_available(stage, freight):
            problem = FieldProblem("spec.freight", spec["freight"], "Freight is not available to this Stage")
            raise invalid("Promotion", name_of(promotion), [problem])
        if not review.dry_run:
            self._world.events.promotion(
                "PromotionCreated",
                f'Promotion created for Stage "{spec["stage"]}" by "{review.actor}"',
                "promotion-webhook",
                promotion,
                freight,
                actor=review.actor,
            )

    async def _authorize(self, review: Review) -> None:
        """Whoever creates, changes or deletes a Promotion needs the verb `promote` on its Stage."""
        stage = review.obj["spec"]["stage"]
        answer = await self._world.server.create(
            ACCESS_REVIEW,
            {
                "apiVersion": ACCESS_REVIEW.api_version,
                "kind": ACCESS_REVIEW.kind,
                "metadata": {},
                "spec": {
                    "user": review.user,
                    "groups": list(review.groups),
                    "resourceAttributes": {
                        "group": GROUP,
                        "resource": "stages",
                        "name": stage,
                        "verb": "promote",
                        "namespace": namespace_of(review.obj),
                    },
                },
            },
        )
        if not status_of(answer).get("allowed"):
            why = (
                f'subject "{review.user}" is not permitted to {review.operation.lower()} Promotions for Stage "{stage}"'
            )
            raise internal(str(forbidden("Promotion", name_of(review.obj), why)))

    # Freight

    async def _fill_in_freight(self, review: Review) -> Obj:
        freight = copy.deepcopy(review.obj)
        metadata = freight["metadata"]
        if review.creates:
            metadata["name"] = freight_id(freight)
        if not freight.get("discoveredAt"):
            freight["discoveredAt"] = metadata.get("creationTimestamp") or now()
        labels = metadata.setdefault("labels", {})
        if not freight.get("alias") and review.creates:
            freight["alias"] = self._free_alias()
        if freight.get("alias"):
            labels[LABEL_ALIAS] = freight["alias"]
        else:
            labels.pop(LABEL_ALIAS, None)
        return freight

    def _free_alias(self) -> str:
        taken = {freight.get("alias") for freight in self._world.freight.all()}
        adjectives, animals = _alias_words()
        while (alias := f"{random.choice(adjectives)}-{random.choice(animals)}") in taken:
            pass
        return alias

    async def _check_freight(self, review: Review) -> None:
        freight, name = review.obj, name_of(review.obj)
        if review.operation == "DELETE":
            self._check_freight_is_unused(freight)
            return
        twins = [
            item
            for item in self._world.freight.all(namespace_of(freight))
            if item.get("alias") == freight.get("alias") and name_of(item) != name
        ]
        if review.creates:
            await self._check_new_freight(freight, has_twin=bool(twins))
            return
        if twins:
            why = (
                f'alias "{freight.get("alias")}" already used by another piece of Freight '
                f'in namespace "{namespace_of(freight)}"'
            )
            raise conflict("freights", name, why)
        if changed := _changed_content(review.before or {}, freight):
            raise invalid("Freight", name, [FieldProblem(*changed, "Freight is immutable")])
        if not review.dry_run:
            self._tell_approvals(review)

    async def _check_new_freight(self, freight: Obj, *, has_twin: bool) -> None:
        await self._require_project(freight)
        namespace = namespace_of(freight)
        problems = []
        if not any(freight.get(field) for field in _ARTIFACTS):
            detail = "freight must contain at least one commit, image, or chart"
            problems.append(FieldProblem("", freight, detail))
        if has_twin:
            detail = f'alias already used by another piece of Freight in namespace "{namespace}"'
            problems.append(FieldProblem("alias", freight.get("alias"), detail))
        warehouse = await self._world.warehouses.read(namespace, freight["origin"]["name"])
        if warehouse is None:
            problems.append(FieldProblem("warehouse", freight["origin"]["name"], "warehouse does not exist"))
        else:
            problems += _artifact_problems(freight, warehouse)
        if problems:
            raise invalid("Freight", name_of(freight), problems)

    def _check_freight_is_unused(self, freight: Obj) -> None:
        users = [
            f'"{name_of(stage)}"'
            for stage in self._world.stages.all(namespace_of(freight))
            if (history := status_of(stage).get("freightHistory"))
            and any(item["name"] == name_of(freight) for item in history[0]["items"].values())
        ]
        if users:
            why = f"freight is in-use by stages ({', '.join(users)})"
            raise forbidden("freights", name_of(freight), why)

    def _tell_approvals(self, review: Review) -> None:
        before = status_of(review.before).get("approvedFor") or {}
        for stage in status_of(review.obj).get("approvedFor") or {}:
            if stage not in before:
                self._world.events.freight(
                    "FreightApproved",
                    f'Freight approved for Stage "{stage}" by "{review.actor}"',
                    "freight-webhook",
                    review.obj,
                    stage=stage,
                    actor=review.actor,
                )

    # Stages and Warehouses

    async def _fill_in_stage(self, review: Review) -> Obj:
        stage = copy.deepcopy(review.obj)
        _set_shard(stage["metadata"].setdefault("labels", {}), stage["spec"].get("shard"))
        annotations = stage["metadata"].setdefault("annotations", {})
        _sign(annotations, ANNOTATION_REVERIFY, "id", review, reverify_request)
        _sign(annotations, ANNOTATION_ABORT, "id", review, abort_verification_request)
        return stage

    async def _check_stage(self, review: Review) -> None:
        stage, spec = review.obj, review.obj["spec"]
        if review.creates:
            await self._require_project(stage)
        problems = _request_problems(spec.get("requestedFreight") or [])
        steps = ((spec.get("promotionTemplate") or {}).get("spec") or {}).get("steps") or []
        problems += _step_problems(steps)
        if problems:
            raise invalid("Stage", name_of(stage), problems)

    async def _fill_in_warehouse(self, review: Review) -> Obj:
        warehouse = copy.deepcopy(review.obj)
        _set_shard(warehouse["metadata"].setdefault("labels", {}), warehouse["spec"].get("shard"))
        for subscription in warehouse["spec"].get("subscriptions") or []:
            if image := subscription.get("image"):
                for field, value in (
                    ("imageSelectionStrategy", "SemVer"),
                    ("strictSemvers", True),
                    ("discoveryLimit", 20),
                ):
                    if image.get(field) in (None, "", 0):
                        image[field] = value
        return warehouse

    async def _check_warehouse(self, review: Review) -> None:
        if review.creates:
            await self._require_project(review.obj)
        problems = _subscription_problems(review.obj["spec"].get("subscriptions") or [])
        if problems:
            raise invalid("Warehouse", name_of(review.obj), problems)

    # Projects

    async def _check_project(self, review: Review) -> None:
        """A new Project's namespace is made at once: what follows in the same manifest may live in it."""
        if not review.creates or review.dry_run:
            return
        name = name_of(review.obj)
        namespace = await self._world.namespaces.read("", name)
        if namespace is None:
            await self._world.namespaces.create(new_namespace(name))
        elif labels_of(namespace).get(LABEL_PROJECT) != "true":
            why = (
                f'failed to initialize Project "{name}" because namespace "{name}" already exists and is not labeled '
                "as a Project namespace"
            )
            raise conflict("projects", name, why)
        elif namespace["metadata"].get("deletionTimestamp"):
            why = (
                f'failed to initialize Project "{name}" because namespace "{name}" is still being terminated; please '
                "try again after the namespace has been fully deleted"
            )
            raise conflict("projects", name, why)

    async def _check_project_config(self, review: Review) -> None:
        config, name, namespace = review.obj, name_of(review.obj), namespace_of(review.obj)
        problems = []
        if review.creates and name != namespace:
            detail = f'name "{name}" must match project name "{namespace}"'
            problems.append(FieldProblem("metadata.name", name, detail))
        problems += _policy_problems((config.get("spec") or {}).get("promotionPolicies") or [])
        if problems:
            raise invalid("ProjectConfig", name, problems)
        if review.creates and not review.dry_run:
            found = await self._world.namespaces.read("", namespace)
            if found is None or labels_of(found).get(LABEL_PROJECT) != "true":
                why = f'namespace "{namespace}" does not belong to Kargo project (missing "{LABEL_PROJECT}" label)'
                raise forbidden("projectconfigs", name, why)

    async def _require_project(self, obj: Obj) -> None:
        name = namespace_of(obj)
        namespace = await self._world.namespaces.read("", name)
        if namespace is None:
            raise missing_namespace(name)
        if labels_of(namespace).get(LABEL_PROJECT) != "true":
            detail = f'namespace "{name}" is not a project'
            raise invalid(obj["kind"], name_of(obj), [FieldProblem("metadata.namespace", name, detail)])

    async def _refuse_tasks(self, review: Review) -> None:
        """Promotion tasks would be ignored, which is worse than being refused."""
        kind = review.obj["kind"]
        detail = f"{kind}s are not part of kargolite; the genuine Kargo engine has them"
        raise invalid(kind, name_of(review.obj), [FieldProblem("kind", kind, detail)])

    async def _admit(self, review: Review) -> None:
        """Nothing is to be checked."""


@cache
def _alias_words() -> tuple[list[str], list[str]]:
    words = yaml.safe_load((DATA / "kargo" / "aliases.yaml").read_text())
    return words["adjectives"], words["animals"]


def _set_shard(labels: dict[str, str], shard: str | None) -> None:
    if shard:
        labels[LABEL_SHARD] = shard
    else:
        labels.pop(LABEL_SHARD, None)


def _keep(annotations: dict[str, str], key: str, before: dict[str, str]) -> None:
    if key in before:
        annotations[key] = before[key]
    else:
        annotations.pop(key, None)


def _sign(
    annotations: dict[str, str],
    key: str,
    field: str,
    review: Review,
    read: Callable[[dict[str, str]], Request | None],
) -> None:
    """Write into a new request who made it."""
    request = read(annotations)
    before = read(annotations_of(review.before)) if review.before else None
    if request and request != before:
        annotations[key] = Request(request.subject, review.actor).to_annotation(field)


def _with_alias(step: Obj, index: int) -> Obj:
    if "task" in step:
        detail = "promotion tasks are not part of kargolite; the genuine Kargo engine has them"
        raise internal(f"failed to inflate Promotion steps: {detail}")
    return step | {"as": step.get("as") or f"step-{index + 1}"}


def _changed_content(before: Obj, after: Obj) -> tuple[str, Any] | None:
    if before.get("origin") != after.get("origin"):
        return "origin", after.get("origin")
    for field in _ARTIFACTS:
        old, new = before.get(field) or [], after.get(field) or []
        if len(old) != len(new):
            return field, new
        for index, (was, would_be) in enumerate(zip(old, new, strict=True)):
            if was != would_be:
                return f"{field}[{index}]", would_be
    return None


def _artifact_problems(freight: Obj, warehouse: Obj) -> list[FieldProblem]:
    name = name_of(warehouse)
    subscribed = [
        subscription["image"]["repoURL"]
        for subscription in warehouse["spec"].get("subscriptions") or []
        if "image" in subscription
    ]
    problems = []
    for field, what in (("commits", "Git repository"), ("charts", "Helm chart")):
        for item in freight.get(field) or []:
            problems.append(FieldProblem(field, item, f'no subscription found for {what} in Warehouse "{name}"'))
    given = [image["repoURL"] for image in freight.get("images") or []]
    for image in freight.get("images") or []:
        if image["repoURL"] not in subscribed:
            detail = f'no subscription found for image repository in Warehouse "{name}"'
            problems.append(FieldProblem("images", image, detail))
    for repository in dict.fromkeys(subscribed):
        count = given.count(repository)
        if count != 1:
            which = "multiple artifacts" if count else "no artifact"
            detail = f'{which} found for subscription "{repository}" of Warehouse "{name}"'
            problems.append(FieldProblem("images", None, detail))
    return problems


def _in_order(value: Obj, fields: tuple[str, ...]) -> Obj:
    return {field: value[field] for field in fields if field in value}


def _request_problems(requests: list[Obj]) -> list[FieldProblem]:
    problems = []
    origins = [origin_key(request["origin"]) for request in requests]
    for origin in dict.fromkeys(origin for origin in origins if origins.count(origin) > 1):
        path = "spec.requestedFreight"
        detail = f"freight with origin {origin} requested multiple times in {path}"
        problems.append(FieldProblem(path, requests, detail))
    for index, request in enumerate(requests):
        sources = request["sources"]
        policy = (sources.get("autoPromotionOptions") or {}).get("selectionPolicy")
        if policy != "MatchUpstream":
            continue
        path = f"spec.requestedFreight[{index}].sources.autoPromotionOptions.selectionPolicy"
        if sources.get("direct"):
            detail = "selection policy 'MatchUpstream' cannot be used when accepting Freight directly from its origin"
            problems.append(FieldProblem(path, policy, detail))
        if len(sources.get("stages") or []) != 1:
            detail = "selection policy 'MatchUpstream' requires exactly one upstream Stage to be specified"
            problems.append(FieldProblem(path, policy, detail))
    return problems


def _step_problems(steps: list[Obj]) -> list[FieldProblem]:
    root = "spec.promotionTemplate.spec.steps"
    problems = []
    seen: dict[str, int] = {}
    for index, step in enumerate(steps):
        alias = (step.get("as") or "").strip()
        if alias and alias in seen:
            detail = f"step alias duplicates that of {root}[{seen[alias]}]"
            problems.append(FieldProblem(f"{root}[{index}].as", alias, detail))
        seen.setdefault(alias, index)
        if _RESERVED_ALIAS.fullmatch(alias):
            problems.append(FieldProblem(f"{root}[{index}].as", alias, "step alias is reserved"))
    for index, step in enumerate(steps):
        for field, detail in (("if", "an 'if' condition"), ("config", "a config")):
            if "task" in step and step.get(field):
                text = f"PromotionTemplate step referencing a task cannot have {detail}"
                problems.append(FieldProblem(f"{root}[{index}].{field}", None, text, forbidden=True))
    return problems


def _subscription_problems(subscriptions: list[Obj]) -> list[FieldProblem]:
    problems = []
    for index, subscription in enumerate(subscriptions):
        image = subscription.get("image")
        if image is None:
            continue
        path = f"spec.subscriptions[{index}].image"
        repository = image.get("repoURL", "")
        if not _IMAGE_REPOSITORY.fullmatch(repository):
            problems.append(FieldProblem(f"{path}.repoURL", repository, "must be a valid image repository URL"))
        if (strategy := image.get("imageSelectionStrategy", "SemVer")) not in _STRATEGIES:
            listed = ", ".join(f'"{item}"' for item in _STRATEGIES)
            detail = f"supported values: {listed}"
            problems.append(FieldProblem(f"{path}.imageSelectionStrategy", strategy, detail))
        if strategy == "SemVer" and (constraint := image.get("constraint")):
            try:
                parse_constraint(constraint)
            except ValueError:
                problems.append(FieldProblem(f"{path}.constraint", constraint, ""))
        limit = image.get("discoveryLimit", 20)
        if not 1 <= limit <= 100:
            bound = "must be >= 1" if limit < 1 else "must be <= 100"
            problems.append(FieldProblem(f"{path}.discoveryLimit", limit, bound))
    return problems


def _policy_problems(policies: list[Obj]) -> list[FieldProblem]:
    problems = []
    seen: dict[str, int] = {}
    for index, policy in enumerate(policies):
        path = f"spec.promotionPolicies[{index}]"
        stage = (policy.get("stageSelector") or {}).get("name") or policy.get("stage") or ""
        kind, colon, pattern = stage.partition(":")
        if colon:
            problem = _pattern_problem(kind, pattern)
            if problem:
                problems.append(FieldProblem(f"{path}.stageSelector.name", stage, problem))
        elif stage in seen:
            detail = f"stage name already defined at spec.promotionPolicies[{seen[stage]}]"
            problems.append(FieldProblem(path, stage, detail))
        elif stage:
            seen[stage] = index
    return problems


def _pattern_problem(kind: str, pattern: str) -> str:
    if kind == "glob":
        return ""
    if kind not in ("regex", "regexp"):
        return f'invalid pattern identifier "{kind}": must be "regex", "regexp" or "glob"'
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


__all__ = ["Admission", "Refusal", "Review"]
