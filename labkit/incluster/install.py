"""Installing into clusters: nothing of anybody else's is touched, and what is there already is left as it is."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt

from labkit.clusters import provider, reach
from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.incluster.components import Installation, installations
from labkit.incluster.examine import assert_installable
from labkit.incluster.installed import InstalledTable, installed_table, workload_states
from labkit.incluster.mark import applied, is_marked, marked
from labkit.incluster.render import GITEA_ADMIN, rendered
from labkit.kube import Kube, is_custom
from labkit.passwords import password
from labkit.progress import step
from labkit.templates import manifests
from labkit.toolchain import Toolset
from labkit.wait import wait_for

Manifest = dict[str, Any]
_TOKEN_SECONDS = 30
_AT_ONCE = 8
# For each component that works in other clusters: the account's Secret there, and what it is called in the control
# cluster. {shard} is filled in.
_ACCOUNTS = {
    "kargo": ("kargo-controller-{shard}", "argocd-{shard}"),
    "argo-rollouts": ("argo-rollouts-jobs", "jobs-{shard}"),
}


def needed_tools(lab: Lab) -> tuple[str, ...]:
    """The programs and upstream files that installing needs."""
    sources = [item.source for item in installations(lab) if item.source]
    return tuple(dict.fromkeys(["helm", "kustomize", "kubectl", *sources]))


def install(lab: Lab, programs: Callable[[Lab], Toolset]) -> InstalledTable:
    """Install everything into the lab's clusters.

    All of it is rendered, and compared with what the clusters hold, before the first of them is changed. The control
    cluster comes last: its controllers need accounts in the others.

    Args:
        lab: The lab.
        programs: Sees to it that what `needed_tools` names is there; asked once the clusters will do.

    Returns:
        What is installed now, and what answers.

    Raises:
        LabError: The clusters cannot take it, or hold something of that name which is not the lab's: nothing was
            changed. Or what was installed did not become ready in time.
    """
    assert_installable(lab)
    tools = programs(lab)
    apis = {environment.name: reach(lab, environment) for environment in lab.environments}
    with step("Render the charts and manifests"), tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        place = Path(folder)
        wanted = {name: _wanted(lab, tools, lab.environment(name), api, place) for name, api in apis.items()}
    for environment in lab.environments:
        wanted[environment.name] += _secrets(lab, environment)
    with step("Compare them with what the clusters hold"):
        # Their names are known before there is a token to put into them.
        ways = _ways(lab, lambda *_: ("", ""))
        live = {
            name: _live(api, wanted[name] + (ways if name == lab.control.name else [])) for name, api in apis.items()
        }
        _assert_own(lab, live)
    others = [environment for environment in lab.environments if environment != lab.control]
    for environment in others:
        with step(f"Install into {environment.context}"):
            _apply(apis[environment.name], wanted[environment.name], live[environment.name])
    with step(f"Install into {lab.control.context}"):
        control = lab.control.name
        wanted[control] += _ways(lab, lambda *account: _account(apis, *account))
        _apply(apis[control], wanted[control], live[control])
    for name, api in apis.items():
        with step(f"Wait until what was installed into {lab.environment(name).context} is ready", expect=120):
            _wait_ready(lab, api)
    return installed_table(lab)


def _wanted(lab: Lab, tools: Toolset, environment: Environment, api: Kube, folder: Path) -> list[Manifest]:
    """The objects for one cluster, namespaces included, each with the lab's mark."""
    mine = [item for item in installations(lab) if item.environment == environment]
    kubernetes = api.version()
    found: list[tuple[Installation, Manifest]] = []
    for item in mine:
        found += [(item, manifest) for manifest in manifests("incluster/namespace.yaml", namespace=item.namespace)]
        found += [(item, manifest) for manifest in rendered(lab, tools, item, kubernetes, folder)]
    in_namespaces = _scopes(api, [manifest for _, manifest in found])
    placed = [
        marked(lab, item.component, _placed(manifest, item.namespace) if in_namespaces(manifest) else manifest)
        for item, manifest in found
    ]
    return list({_key(manifest): manifest for manifest in reversed(placed)}.values())[::-1]


def _scopes(api: Kube, objects: list[Manifest]) -> Callable[[Manifest], bool]:
    """Says whether an object lives in a namespace; of kinds that are only now being installed, by their definition."""
    new = {
        (item["spec"]["group"], item["spec"]["names"]["kind"]): item["spec"]["scope"] == "Namespaced"
        for item in objects
        if item["kind"] == "CustomResourceDefinition"
    }

    def in_namespace(manifest: Manifest) -> bool:
        group = manifest["apiVersion"].rpartition("/")[0]
        known = new.get((group, manifest["kind"]))
        return api.is_namespaced(manifest["apiVersion"], manifest["kind"]) if known is None else known

    return in_namespace


def _placed(manifest: Manifest, namespace: str) -> Manifest:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _key(manifest: Manifest) -> tuple[str, str, str, str]:
    metadata = manifest["metadata"]
    return (manifest["apiVersion"], manifest["kind"], metadata.get("namespace") or "", metadata["name"])


def _secrets(lab: Lab, environment: Environment) -> list[Manifest]:
    """Passwords that charts take from a Secret: made by the lab, kept in its folder, in no values file."""
    charts = [item for item in installations(lab) if item.environment == environment and item.kind == "chart"]
    makers = {"kargo-chart": _kargo_admin, "gitea-chart": _gitea_admin, "kube-prometheus-stack-chart": _grafana_admin}
    # A controller that serves another cluster is not who people sign in at.
    return [
        marked(lab, item.component, manifest)
        for item in charts
        if item.source in makers and not item.shard
        for manifest in makers[item.source](lab, item.namespace)
    ]


def _kargo_admin(lab: Lab, namespace: str) -> list[Manifest]:
    plain = password(lab, "kargo-admin")
    # Kept beside the password: a hash is another one each time it is made.
    hashed = password(lab, "kargo-admin-hash", lambda: bcrypt.hashpw(plain.encode(), bcrypt.gensalt()).decode())
    key = password(lab, "kargo-token-signing-key", lambda: secrets.token_urlsafe(32))
    return manifests("incluster/kargo-admin.yaml", namespace=namespace, hash=hashed, signing_key=key)


def _gitea_admin(lab: Lab, namespace: str) -> list[Manifest]:
    return manifests(
        "incluster/gitea-admin.yaml", namespace=namespace, account=GITEA_ADMIN, password=password(lab, GITEA_ADMIN)
    )


def _grafana_admin(lab: Lab, namespace: str) -> list[Manifest]:
    return manifests("incluster/grafana-admin.yaml", namespace=namespace, password=password(lab, "grafana"))


def _ways(lab: Lab, account: Callable[[Installation, str], tuple[str, str]]) -> list[Manifest]:
    """Kubeconfig Secrets for the controllers in the control cluster that serve other clusters.

    Args:
        lab: The lab.
        account: For an installation in another cluster and the name of an account's Secret there: certificate of the
            API server and token.
    """
    control = {item.component: item.namespace for item in installations(lab) if item.environment == lab.control}
    made = []
    for item in installations(lab):
        if item.kind != "manifests" or item.component not in control:
            continue
        there, here = (name.format(shard=item.environment.name) for name in _ACCOUNTS[item.component])
        certificate, token = account(item, there)
        made += [
            marked(lab, item.component, manifest)
            for manifest in manifests(
                "incluster/kubeconfig.yaml",
                secret=here,
                namespace=control[item.component],
                context=item.environment.context,
                account=there,
                target=item.namespace,
                server=provider(lab).inner_server(item.environment),
                ca=certificate,
                token=token,
            )
        ]
    return made


def _account(apis: dict[str, Kube], item: Installation, name: str) -> tuple[str, str]:
    api = apis[item.environment.name]
    secret = wait_for(
        f"the token of {name} in {item.environment.context}",
        lambda: api.need("v1", "Secret", name, item.namespace).get("data") or {},
        lambda data: bool(data.get("token")),
        describe=lambda data: ", ".join(data) or "no token yet",
        timeout=_TOKEN_SECONDS,
        todo="the cluster's controller manager fills it in: see whether that runs",
    )
    return secret.get("ca.crt", ""), base64.b64decode(secret["token"]).decode()


def _live(api: Kube, objects: Iterable[Manifest]) -> dict[tuple[str, str, str, str], Manifest]:
    """What the cluster holds under these names."""
    keys = [_key(manifest) for manifest in objects]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        there = pool.map(lambda key: api.get(key[0], key[1], key[3], key[2] or None), keys)
    return {key: found for key, found in zip(keys, there, strict=True) if found is not None}


def _assert_own(lab: Lab, live: dict[str, dict[tuple[str, str, str, str], Manifest]]) -> None:
    foreign = [
        f"{kind} {namespace}/{name} in gitops-{cluster}" if namespace else f"{kind} {name} in gitops-{cluster}"
        for cluster, objects in live.items()
        for (_, kind, namespace, name), there in objects.items()
        if not is_marked(lab, there)
    ]
    if foreign:
        raise LabError(
            "The clusters hold what the lab would install, and it is not the lab's; nothing was changed",
            seen="; ".join(foreign[:10]) + (f"; and {len(foreign) - 10} more" if len(foreign) > 10 else ""),
            todo="leave out what is there already (`labkit init … --without NAME`), or name other contexts",
        )


def _phase(manifest: Manifest) -> int:
    """Where an object stands in the order: what others need comes first, what judges others last.

    Before its webhooks are registered, an API server asks nobody whether an object will do; afterwards it would ask
    pods that have not started.
    """
    if manifest["kind"] == "Namespace":
        return 0
    if manifest["kind"] == "CustomResourceDefinition":
        return 1
    if manifest["kind"].endswith("WebhookConfiguration"):
        return 4
    return 3 if is_custom(manifest["apiVersion"]) else 2


def _apply(api: Kube, objects: list[Manifest], live: dict[tuple[str, str, str, str], Manifest]) -> None:
    """Apply what differs from what was asked for the last time."""
    changed = [item for item in objects if applied(live.get(_key(item))) != applied(item)]
    for phase in range(5):
        now = [item for item in changed if _phase(item) == phase]
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            for done in [pool.submit(api.apply, item) for item in now]:
                done.result()
        if phase == 1:
            api.wait_for_crds(now)


def _wait_ready(lab: Lab, api: Kube) -> None:
    wait_for(
        f"the workloads in {api.context} to be ready",
        lambda: [state for state in workload_states(lab, api) if not state.ready],
        lambda waiting: not waiting,
        describe=lambda waiting: "; ".join(str(state) for state in waiting) or "all ready",
        timeout=lab.limits.install_seconds,
        interval=1,
        todo=f"`kubectl --context {api.context} get pods --all-namespaces`, then `kubectl describe pod`; "
        "`labkit setup` goes on from here, `labkit uninstall` takes all of it out again",
    )
