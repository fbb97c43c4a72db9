"""Taking out of the clusters what the lab has installed: what carries its mark, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from labkit.clusters import reach
from labkit.config import Environment, Lab
from labkit.incluster.components import rules
from labkit.incluster.mark import APPLIED, COMPONENT, MARK, is_marked, selector
from labkit.kube import Kind, Kube, is_custom
from labkit.progress import step
from labkit.tables import Record, Table
from labkit.wait import wait_for

_SECONDS = 180
_UNMARKED = {"metadata": {"labels": {MARK: None, COMPONENT: None}, "annotations": {APPLIED: None}}}


@dataclass(frozen=True, repr=False)
class Left(Record):
    """What the lab had made and has left, because somebody else uses it; it no longer carries the lab's mark."""

    context: str
    kind: str
    name: str
    because: str


class LeftTable(Table[Left]):
    """What was left, because somebody else uses it."""

    title = "Left"
    columns = ("context", "kind", "name", "because")


def uninstall(lab: Lab) -> LeftTable:
    """Take everything that carries the lab's mark out of its clusters.

    A namespace in which somebody else keeps something stays, and so does a resource definition of which somebody else
    has objects: only the lab's own objects are taken out of them.

    Raises:
        LabError: A cluster does not answer: the others were not touched. Or something of the lab's does not go.
    """
    apis = [(environment, reach(lab, environment)) for environment in lab.environments]
    left: list[Left] = []
    # The control cluster's controllers go first: they would go on working in the others.
    for environment, api in sorted(apis, key=lambda pair: pair[0] != lab.control):
        with step(f"Take out of {environment.context} what the lab has installed"):
            left += _uninstall(lab, environment, api)
    return LeftTable(tuple(left))


def _uninstall(lab: Lab, environment: Environment, api: Kube) -> list[Left]:
    # What Kubernetes makes of an object has its labels, and goes with it.
    made = rules()["generated"]["kinds"]
    kinds = [kind for kind in api.kinds("list", "delete") if kind.kind not in made]
    found = [(kind, item) for kind in kinds for item in api.list(kind.api_version, kind.kind, selector=selector(lab))]
    namespaces = [item["metadata"]["name"] for kind, item in found if kind.kind == "Namespace"]
    strangers = {name: _strangers(lab, api, kinds, name) for name in namespaces}
    kept = {("Namespace", name): who for name, who in strangers.items() if who}
    going = set(namespaces) - {name for _, name in kept}
    definitions = [item for kind, item in found if kind.kind == "CustomResourceDefinition"]
    for definition in definitions:
        who = _users(lab, api, definition, going)
        if who:
            kept["CustomResourceDefinition", definition["metadata"]["name"]] = who
    for kind, item in sorted(found, key=lambda pair: _turn(pair[0])):
        name = item["metadata"]["name"]
        if (kind.kind, name) in kept:
            api.patch(kind.api_version, kind.kind, name, _UNMARKED)
        else:
            api.delete(kind.api_version, kind.kind, name, item["metadata"].get("namespace"))
    _wait_gone(lab, api, kinds)
    for name, _ in ((name, kind) for kind, name in kept if kind == "Namespace"):
        _delete_generated(api, kinds, name)
    return [
        Left(environment.context, kind, name, f"holds {', '.join(who[:5])}{' …' if len(who) > 5 else ''}")
        for (kind, name), who in kept.items()
    ]


def _turn(kind: Kind) -> int:
    """What judges others goes first, what others live in last."""
    if kind.kind.endswith("WebhookConfiguration"):
        return 0
    if kind.kind == "Namespace":
        return 3
    if kind.kind == "CustomResourceDefinition":
        return 4
    return 1 if is_custom(kind.api_version) else 2


def _is_generated(kind: str, item: dict[str, Any]) -> bool:
    """Whether Kubernetes or a component has made it of something else."""
    known = rules()["generated"]
    return (
        bool(item["metadata"].get("ownerReferences"))
        or kind in known["kinds"]
        or any(
            entry["kind"] == kind and fnmatchcase(item["metadata"]["name"], entry["name"]) for entry in known["names"]
        )
    )


def _strangers(lab: Lab, api: Kube, kinds: Iterable[Kind], namespace: str) -> list[str]:
    """What is in a namespace, and neither the lab's nor made of what is."""
    return [
        f"{kind.kind} {item['metadata']['name']}"
        for kind in kinds
        if kind.namespaced
        for item in api.list(kind.api_version, kind.kind, namespace)
        if not is_marked(lab, item) and not _is_generated(kind.kind, item)
    ]


def _users(lab: Lab, api: Kube, definition: dict[str, Any], going: set[str]) -> list[str]:
    """Objects of a kind that somebody else has, outside the namespaces that go."""
    spec = definition["spec"]
    version = next(item["name"] for item in spec["versions"] if item["served"])
    return [
        f"{spec['names']['kind']} {item['metadata']['name']}"
        for item in api.list(f"{spec['group']}/{version}", spec["names"]["kind"])
        if not is_marked(lab, item) and item["metadata"].get("namespace") not in going
    ]


def _delete_generated(api: Kube, kinds: Iterable[Kind], namespace: str) -> None:
    """In a namespace that stays, what was made of the lab's objects and outlives them."""
    for kind in kinds:
        for entry in rules()["generated"]["names"]:
            if not kind.namespaced or entry["kind"] != kind.kind or kind.kind in ("ConfigMap", "ServiceAccount"):
                continue
            for item in api.list(kind.api_version, kind.kind, namespace):
                if fnmatchcase(item["metadata"]["name"], entry["name"]):
                    api.delete(kind.api_version, kind.kind, item["metadata"]["name"], namespace)


def _wait_gone(lab: Lab, api: Kube, kinds: Iterable[Kind]) -> None:
    def remaining() -> list[str]:
        return [
            f"{kind.kind} {item['metadata']['name']}"
            + (f" (held by {', '.join(item['metadata']['finalizers'])})" if item["metadata"].get("finalizers") else "")
            for kind in kinds
            for item in api.list(kind.api_version, kind.kind, selector=selector(lab))
        ]

    wait_for(
        f"what the lab installed into {api.context} to be gone",
        remaining,
        lambda left: not left,
        describe=lambda left: ", ".join(left[:10]) or "all gone",
        interval=1,
        timeout=_SECONDS,
        todo="what holds an object is named in brackets: end that, then `labkit uninstall` again",
    )
