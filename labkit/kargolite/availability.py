"""Which Freight a Stage may take, and which one it takes by itself."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from labkit.asynckube.objects import Obj, labels_of, name_of, namespace_of, seconds_since, status_of
from labkit.kargolite.durations import parse_duration
from labkit.kargolite.model import origin_key


def is_available(stage: Obj, freight: Obj | None) -> bool:
    """Whether a Promotion of that Freight to that Stage is allowed."""
    if freight is None or namespace_of(stage) != namespace_of(freight):
        return False
    for request in stage["spec"].get("requestedFreight") or []:
        if origin_key(request["origin"]) == origin_key(freight["origin"]):
            return _meets(request, stage, freight)
    return False


def available_freight(stage: Obj, freight: Iterable[Obj]) -> list[Obj]:
    """All Freight that the Stage may take, for auto-promotion (`MatchUpstream`: only what is upstream now)."""
    found = {}
    for request in stage["spec"].get("requestedFreight") or []:
        for item in freight:
            if (
                origin_key(request["origin"]) == origin_key(item["origin"])
                and _meets(request, stage, item)
                and (not _matches_upstream(request) or request["sources"]["stages"][0] in _places(item))
            ):
                found[name_of(item)] = item
    return list(found.values())


def auto_promotion_candidates(stage: Obj, freight: Iterable[Obj]) -> dict[str, Obj]:
    """For each requested origin the Freight that would be promoted by itself: the newest that is available."""
    available = available_freight(stage, list(freight))
    candidates = {}
    for request in stage["spec"].get("requestedFreight") or []:
        origin = origin_key(request["origin"])
        choice = [item for item in available if origin_key(item["origin"]) == origin]
        if choice and not (_matches_upstream(request) and len(choice) > 1):
            candidates[origin] = max(choice, key=lambda item: (discovered_at(item), name_of(item)))
    return candidates


def auto_promotion_enabled(project_config: Obj | None, stage: Obj) -> bool:
    """What the first promotion policy that fits the Stage says."""
    for policy in ((project_config or {}).get("spec") or {}).get("promotionPolicies") or []:
        selector = policy.get("stageSelector") or {"name": policy.get("stage", "")}
        if _name_fits(selector.get("name", ""), name_of(stage)) and _labels_fit(selector, labels_of(stage)):
            return bool(policy.get("autoPromotionEnabled"))
    return False


def discovered_at(freight: Obj) -> str:
    """When the Freight's artifacts were found; its creation where that is not recorded."""
    return str(freight.get("discoveredAt") or freight["metadata"].get("creationTimestamp", ""))


def longest_soak(freight: Obj, stage: str) -> float:
    """Seconds that verified Freight has been in a Stage without interruption, at most; 0 if not verified there."""
    status = status_of(freight)
    verified = (status.get("verifiedIn") or {}).get(stage)
    if verified is None:
        return 0.0
    completed = parse_duration(verified["longestSoak"]) if verified.get("longestSoak") else 0.0
    current = (status.get("currentlyIn") or {}).get(stage)
    return max(completed, seconds_since(current["since"]) if current else 0.0)


def soak_left(stage: Obj, freight: Iterable[Obj]) -> float | None:
    """Seconds until the next piece of Freight has soaked long enough for the Stage, if one is under way."""
    left = [
        parse_duration(sources["requiredSoakTime"]) - longest_soak(item, upstream)
        for request in stage["spec"].get("requestedFreight") or []
        for sources in [request["sources"]]
        if sources.get("requiredSoakTime")
        for item in freight
        for upstream in sources.get("stages") or []
        if upstream in (status_of(item).get("verifiedIn") or {}) and upstream in _places(item)
    ]
    return min((seconds for seconds in left if seconds > 0), default=None)


def _meets(request: Obj, stage: Obj, freight: Obj) -> bool:
    sources = request["sources"]
    if name_of(stage) in (status_of(freight).get("approvedFor") or {}) or sources.get("direct"):
        return True
    passed = [_passed(freight, upstream, sources) for upstream in sources.get("stages") or []]
    return bool(passed) and (all(passed) if sources.get("availabilityStrategy") == "All" else any(passed))


def _passed(freight: Obj, upstream: str, sources: Obj) -> bool:
    if upstream not in (status_of(freight).get("verifiedIn") or {}):
        return False
    required = sources.get("requiredSoakTime")
    return not required or longest_soak(freight, upstream) >= parse_duration(required)


def _places(freight: Obj) -> Obj:
    return status_of(freight).get("currentlyIn") or {}


def _matches_upstream(request: Obj) -> bool:
    options = request["sources"].get("autoPromotionOptions") or {}
    return bool(options.get("selectionPolicy") == "MatchUpstream" and not request["sources"].get("direct"))


def _name_fits(pattern: str, name: str) -> bool:
    kind, colon, rest = pattern.partition(":")
    if not colon:
        return pattern in ("", name)
    if kind == "glob":
        return fnmatch.fnmatchcase(name, rest)
    return kind in ("regex", "regexp") and re.search(rest, name) is not None


def _labels_fit(selector: Obj, labels: dict[str, str]) -> bool:
    wanted = selector.get("labelSelector") or selector
    return all(labels.get(key) == value for key, value in (wanted.get("matchLabels") or {}).items()) and all(
        _expression_fits(expression, labels) for expression in wanted.get("matchExpressions") or []
    )


def _expression_fits(expression: Obj, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    among = value in (expression.get("values") or [])
    return {
        "In": value is not None and among,
        "NotIn": not among,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
