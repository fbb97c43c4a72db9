"""Whether the lab may and can be installed into clusters: looks only, changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from labkit.clusters import provider, reach
from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.findings import Finding
from labkit.incluster.components import installations, rules
from labkit.incluster.installed import WORKLOADS
from labkit.incluster.mark import is_marked, selector
from labkit.kube import Kube
from labkit.quantities import quantity
from labkit.toolchain import find_tools

_GIB = 2**30
_LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")


def examine(lab: Lab) -> tuple[Finding, ...]:
    """Look at each cluster: does it answer, whose is it, may one install, does it fit, is the place free.

    Returns:
        What was found, a cluster that does not answer with that alone; at the end what would be installed where.
    """
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda environment: _cluster(lab, environment), lab.environments))
    return (
        *(finding for findings in found for finding in findings),
        *_distinct(lab),
        *(_plan(lab, environment) for environment in lab.environments),
        _files(lab),
    )


def assert_installable(lab: Lab) -> None:
    """Refuse clusters that the lab cannot, may not or should not be installed into, before anything is changed.

    Raises:
        LabError: Names all that is wrong, with the way out.
    """
    failed = [finding for finding in examine(lab) if finding.result == "failed"]
    if failed:
        raise LabError(
            "The lab cannot be installed into these clusters as they are; nothing was changed",
            seen="; ".join(f"{finding.check}: {finding.found}" for finding in failed),
            todo="; ".join(dict.fromkeys(finding.todo for finding in failed)),
        )


def _cluster(lab: Lab, environment: Environment) -> list[Finding]:
    name = environment.context
    try:
        clusters = provider(lab)
        server = clusters.access(environment)["cluster"].get("server", "")
        api = reach(lab, environment)
    except LabError as error:
        return [
            Finding(
                f"{name} answers", "failed", f"{error.what}: {error.seen}" if error.seen else error.what, error.todo
            )
        ]
    findings = [Finding(f"{name} answers", "ok", f"{api.version()} at {server}")]
    try:
        return [
            *findings,
            *([_whose(lab, environment, api, server)] if not clusters.owned else []),
            _rights(environment, api),
            _size(lab, environment, api),
            *_place(lab, environment, api),
            *_way_in(lab, environment),
        ]
    except LabError as error:
        # One may not even look.
        todo = "ask for the rights of a cluster administrator, or name another context"
        return [*findings, Finding(f"rights in {name}", "failed", f"{error.what}: {error.seen}", todo)]


def _whose(lab: Lab, environment: Environment, api: Kube, server: str) -> Finding:
    """Whether this looks like somebody's production."""
    check = f"{environment.context} is nobody's production"
    context = lab.settings.existing.contexts[environment.name]
    signs = [*_telling_names(context, server), *_telling_contents(lab, api)]
    if not signs:
        return Finding(check, "ok", f"context {context}: neither its name nor what is in it says so")
    if context in lab.settings.existing.confirmed:
        return Finding(check, "note", f"context {context} was confirmed by name: {'; '.join(signs)}")
    return Finding(
        check, "failed", f"context {context}: {'; '.join(signs)}", f"if you mean it: `--confirm {context}`, by its name"
    )


def _telling_names(context: str, server: str) -> list[str]:
    patterns = rules()["production"]["names"]
    named = {"context": context, "server": urlsplit(server).hostname or ""}
    return [
        f"the name of its {what} matches {pattern}"
        for what, name in named.items()
        for pattern in patterns
        if fnmatchcase(name.lower(), pattern)
    ]


def _is_system(namespace: str) -> bool:
    return any(fnmatchcase(namespace, pattern) for pattern in rules()["systemNamespaces"])


def _telling_contents(lab: Lab, api: Kube) -> list[str]:
    most = rules()["production"]

    def foreign(api_version: str, kind: str) -> list[dict[str, Any]]:
        return [
            item
            for item in api.list(api_version, kind)
            if not _is_system(item["metadata"]["namespace"]) and not is_marked(lab, item)
        ]

    workloads = [item for kind in WORKLOADS for item in foreign("apps/v1", kind)]
    public = [item for item in foreign("v1", "Service") if item["spec"].get("type") == "LoadBalancer"]
    counted = {
        "workloads": (
            len(workloads),
            f"workloads in {len({item['metadata']['namespace'] for item in workloads})} namespaces",
        ),
        "nodes": (len(api.list("v1", "Node")), "nodes"),
        "publicServices": (len(public), "Services of type LoadBalancer"),
        "ingresses": (len(foreign("networking.k8s.io/v1", "Ingress")), "Ingresses"),
    }
    return [f"it holds {count} {what}" for name, (count, what) in counted.items() if count > most[name]]


def _rights(environment: Environment, api: Kube) -> Finding:
    check = f"rights in {environment.context}"
    if api.allowed("*", "*", "*"):
        return Finding(check, "ok", "all: a cluster administrator")
    wanted = rules()["rights"]
    asked = [
        (verb, group, resource)
        for group, resources in wanted["resources"].items()
        for resource in resources
        for verb in wanted["verbs"]
    ]
    asked += [(item["verb"], item["group"], item["resource"]) for item in wanted["escalation"]]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda item: api.allowed(*item), asked))
    missing: dict[str, list[str]] = {}
    for (verb, group, resource), allowed in zip(asked, answers, strict=True):
        if not allowed:
            missing.setdefault(f"{resource}.{group}".rstrip("."), []).append(verb)
    if missing:
        lacking = "; ".join(f"{resource}: {', '.join(verbs)}" for resource, verbs in missing.items())
        return Finding(
            check,
            "failed",
            f"missing for {lacking}",
            "ask for the rights of a cluster administrator, or name another context",
        )
    return Finding(check, "ok", f"all {len(asked)} that installing needs")


def _size(lab: Lab, environment: Environment, api: Kube) -> Finding:
    """Whether what is free is enough: allocatable, less what the pods of others request."""
    check = f"room in {environment.context}"
    nodes = [node for node in api.list("v1", "Node") if not (node["spec"].get("unschedulable") or False)]
    own = {item["metadata"]["name"] for item in api.list("v1", "Namespace", selector=selector(lab))}
    pods = [
        pod
        for pod in api.list("v1", "Pod")
        if pod["status"].get("phase") not in ("Succeeded", "Failed") and pod["metadata"]["namespace"] not in own
    ]

    def free(resource: str) -> float:
        allocatable = sum(quantity(node["status"].get("allocatable", {}).get(resource, "0")) for node in nodes)
        return allocatable - sum(_requested(pod, resource) for pod in pods)

    cpu, memory = free("cpu"), free("memory") / _GIB
    wanted = quantity(environment.memory) / _GIB
    share = min(cpu / environment.cpu, memory / wanted)
    size = f"the environment's size is {environment.cpu} CPU and {wanted:g} GiB"
    found = f"{cpu:.1f} CPU and {memory:.1f} GiB are free; {size}"
    if share < rules()["size"]["least"]:
        return Finding(check, "failed", found, "name a larger cluster, or make room in this one")
    return Finding(check, "ok" if share >= 1 else "note", found, "" if share >= 1 else "not everything may fit")


def _requested(pod: Mapping[str, Any], resource: str) -> float:
    containers = pod["spec"].get("containers") or []
    return sum(
        quantity(str(((item.get("resources") or {}).get("requests") or {}).get(resource, "0"))) for item in containers
    )


def _place(lab: Lab, environment: Environment, api: Kube) -> list[Finding]:
    """Whether the namespaces and resource definitions are free, and there is what was left out."""
    mine = [item for item in installations(lab) if item.environment == environment]
    namespaces = sorted({item.namespace for item in mine})
    taken = [
        name
        for name in namespaces
        if (found := api.get("v1", "Namespace", name)) is not None and not is_marked(lab, found)
    ]
    definitions = {
        item["metadata"]["name"]: item for item in api.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    }
    findings = []
    here = {item.component for item in installations(lab, left_out=True) if item.environment == environment}
    for name, component in rules()["components"].items():
        if name not in here:
            continue
        found = definitions.get(component.get("crd", ""))
        if name in lab.settings.without:
            findings += _left_out(environment, api, name, component, found is not None)
        elif found is not None and not is_marked(lab, found):
            taken.append(f"{name} ({component['crd']})")
    todo = "leave out what is there already (`labkit init … --without NAME`), or name another context"
    result = Finding(
        f"place in {environment.context}",
        "failed" if taken else "ok",
        f"there already, and not the lab's: {', '.join(taken)}" if taken else f"free: {', '.join(namespaces)}",
        todo if taken else "",
    )
    return [result, *findings]


def _left_out(
    environment: Environment, api: Kube, name: str, component: Mapping[str, str], defined: bool
) -> list[Finding]:
    """Whether what others need of a component that was left out is there."""
    missing = []
    if "crd" in component and not defined:
        missing.append(component["crd"])
    if "namespace" in component and api.get("v1", "Namespace", component["namespace"]) is None:
        missing.append(f"namespace {component['namespace']}")
    check = f"{name} in {environment.context}"
    if missing:
        todo = f"install {name} there, or do not leave it out"
        return [Finding(check, "failed", f"left out, and there is no {', no '.join(missing)}", todo)]
    return [Finding(check, "note", "left out: it is not the lab's")]


def _way_in(lab: Lab, environment: Environment) -> list[Finding]:
    """Whether pods of the control cluster can reach this cluster's API server."""
    if environment == lab.control:
        return []
    server = provider(lab).inner_server(environment)
    host = urlsplit(server).hostname or ""
    check = f"{lab.control.context} can reach {environment.context}"
    if host.startswith(_LOOPBACK):
        return [
            Finding(
                check,
                "failed",
                f"{server} is an address of this machine: from inside a pod it leads nowhere",
                f"name one that leads there: `labkit init … --server {environment.name}=https://…`",
            )
        ]
    return [Finding(check, "note", f"at {server}: not tried, for it would need a pod there")]


def _distinct(lab: Lab) -> list[Finding]:
    """Whether there are as many clusters as environments."""
    seen: dict[str, list[str]] = {}
    for environment in lab.environments:
        try:
            system = reach(lab, environment).need("v1", "Namespace", "kube-system")
        except LabError:
            continue
        seen.setdefault(system["metadata"]["uid"], []).append(environment.context)
    same = [" and ".join(names) for names in seen.values() if len(names) > 1]
    todo = "name a context of another cluster for each" if same else ""
    found = f"{'; '.join(same)} are the same one" if same else f"{len(seen)} that answer are different ones"
    return [Finding("a cluster for each environment", "failed" if same else "ok", found, todo)]


def _plan(lab: Lab, environment: Environment) -> Finding:
    mine = [item for item in installations(lab) if item.environment == environment]
    parts = Counter((item.component, item.version, item.namespace) for item in mine if item.version)
    listed = "; ".join(f"{name} {version} in {namespace}" for name, version, namespace in parts)
    return Finding(f"to be installed in {environment.context}", "ok", listed)


def _files(lab: Lab) -> Finding:
    names = tuple(dict.fromkeys(["helm", "kustomize", *(item.source for item in installations(lab) if item.source)]))
    missing = ", ".join(tool.name for tool in find_tools(names).missing)
    if missing:
        return Finding("programs, charts and manifests", "note", f"to be downloaded, or built: {missing}")
    return Finding("programs, charts and manifests", "ok", "all found")
