"""How labkit talks to API servers: a thin layer over the official Python client."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
import yaml
from kubernetes import dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError, ResourceNotFoundError

from labkit.errors import LabError
from labkit.wait import wait_for

FIELD_MANAGER = "labkit"
UNREACHABLE = (urllib3.exceptions.HTTPError, ConnectionError, ApiException)

log = logging.getLogger("labkit.kube")

# What fails in the end is raised: its tries before that are not worth a line.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

Manifest = dict[str, Any]


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of objects, its name in addresses and rights, and whether they live in namespaces."""

    api_version: str
    kind: str
    resource: str
    namespaced: bool


class Kube:
    """One API server, seen as one user.

    Args:
        kubeconfig: File with the context.
        context: The context's name.
        as_user: Whom to act as (Kubernetes impersonation, as `kubectl --as`); nobody but oneself where empty.
    """

    def __init__(self, kubeconfig: Path, context: str, *, as_user: str = "") -> None:
        if not kubeconfig.exists():
            raise LabError(f"There is no {kubeconfig}", todo="create the clusters: `labkit clusters create`")
        self.context = context
        try:
            self._api = kubernetes.config.new_client_from_config(str(kubeconfig), context=context)
        except kubernetes.config.ConfigException as error:
            raise LabError(
                f"{kubeconfig} has no context {context}",
                seen=str(error),
                todo="create the clusters: `labkit clusters create`",
            ) from error
        as_user = as_user or _impersonated(kubeconfig, context)
        if as_user:
            self._api.set_default_header("Impersonate-User", as_user)
        self._dynamic: dynamic.DynamicClient | None = None
        self._discovering = threading.Lock()
        self._cache = str(kubeconfig.parent / f".discovery-{context}.json")

    def _resource(self, api_version: str, kind: str) -> Any:
        # A kind that it does not know yet makes the client forget all of them for a moment.
        with self._discovering:
            if self._dynamic is None:
                self._dynamic = dynamic.DynamicClient(self._api, cache_file=self._cache)
            return self._dynamic.resources.get(api_version=api_version, kind=kind)

    @contextmanager
    def _asking(self, refusal: str) -> Iterator[None]:
        """Turn the client's errors into the lab's; that there is no such object or kind is for the caller to judge."""
        try:
            yield
        except NotFoundError:
            raise
        except DynamicApiError as error:
            raise LabError(f"{self.context} refused {refusal}", seen=_reason(error)) from error
        except UNREACHABLE as error:
            raise LabError(
                f"The API server of {self.context} does not answer",
                seen=str(error).splitlines()[0],
                todo="`labkit status` shows what runs, `labkit up` starts what does not",
            ) from error

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return bool(self.raw("/readyz", timeout=3) == "ok")
        except UNREACHABLE:
            return False

    def probe(self, *, seconds: float) -> None:
        """Ask for the version, and wait no longer than that.

        Raises:
            LabError: There is no answer, the credentials are refused, or it is no API server.
        """
        todo = (
            "`kubectl --kubeconfig FILE --context CONTEXT version` asks the same; mend the kubeconfig, or name another"
        )
        try:
            self._api.call_api(
                *("/version", "GET"),
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=seconds,
            )
        except ApiException as error:
            if error.status in (401, 403):
                raise LabError(f"{self.context} refuses the credentials", seen=f"{error.status}", todo=todo) from error
            raise LabError(f"{self.context} is no API server", seen=f"{error.status}", todo=todo) from error
        except (*UNREACHABLE, OSError) as error:
            raise LabError(f"{self.context} does not answer", seen=str(error).splitlines()[0], todo=todo) from error

    def raw(self, path: str, *, timeout: float = 10) -> str:
        """GET a path of the API server, such as `/readyz` or `/version`, as text."""
        answer = self._api.call_api(
            path, "GET", auth_settings=["BearerToken"], _preload_content=False, _request_timeout=timeout
        )
        body: bytes = answer.data
        return body.decode()

    def version(self) -> str:
        """The API server's version, such as `v1.36.1`."""
        return str(json.loads(self.raw("/version"))["gitVersion"])

    def apply(self, *manifests: Manifest, field_manager: str = FIELD_MANAGER, dry_run: bool = False) -> list[Manifest]:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts` does.

        Args:
            manifests: The objects.
            field_manager: Who owns the fields.
            dry_run: Change nothing, as `--dry-run=server` does.

        Returns:
            The objects as the API server has them now, or would have them.

        Raises:
            LabError: The API server refused one; names it and says why.
        """
        applied = []
        for manifest in manifests:
            metadata = manifest["metadata"]
            name = f"{manifest['kind']} {metadata['name']}"
            try:
                with self._asking(name):
                    answer: Manifest = self._resource(manifest["apiVersion"], manifest["kind"]).server_side_apply(
                        body=manifest,
                        name=metadata["name"],
                        namespace=metadata.get("namespace"),
                        field_manager=field_manager,
                        force_conflicts=True,
                        serializer=_as_it_is,
                        **({"dry_run": "All"} if dry_run else {}),
                    )
            except (NotFoundError, ResourceNotFoundError) as error:
                raise LabError(f"{self.context} refused {name}", seen=_reason(error)) from error
            applied.append(answer)
        return applied

    def create(self, manifest: Manifest) -> Manifest:
        """Create one object; admission's answer, if it refuses, is the error's message."""
        metadata = manifest["metadata"]
        name = f"{manifest['kind']} {metadata.get('name') or metadata.get('generateName', '')}"
        try:
            with self._asking(name):
                resource = self._resource(manifest["apiVersion"], manifest["kind"])
                answer: Manifest = resource.create(
                    body=manifest, namespace=metadata.get("namespace"), serializer=_as_it_is
                )
        except (NotFoundError, ResourceNotFoundError) as error:
            raise LabError(f"{self.context} refused {name}", seen=_reason(error)) from error
        return answer

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """One object, or nothing where there is none (or no such kind)."""
        try:
            with self._asking(f"a look at {kind} {name}"):
                answer: Manifest = self._resource(api_version, kind).get(
                    name=name, namespace=namespace, serializer=_as_it_is
                )
        except (NotFoundError, ResourceNotFoundError):
            return None
        return answer

    def need(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """One object that has to be there.

        Raises:
            LabError: It is not.
        """
        found = self.get(api_version, kind, name, namespace)
        if found is None:
            where = f" in {namespace}" if namespace else ""
            raise LabError(f"{self.context} has no {kind} {name}{where}", todo="`labkit status` shows what is there")
        return found

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, selector: str | None = None
    ) -> list[Manifest]:
        """The objects of a kind, in one namespace or in all; none where there is no such kind."""
        try:
            with self._asking(f"a list of every {kind}"):
                answer = self._resource(api_version, kind).get(
                    namespace=namespace, label_selector=selector, serializer=_as_it_is
                )
        except (NotFoundError, ResourceNotFoundError):
            return []
        return [{**item, "apiVersion": api_version, "kind": kind} for item in answer["items"]]

    def patch(
        self, api_version: str, kind: str, name: str, change: Mapping[str, Any], namespace: str | None = None
    ) -> Manifest:
        """Merge a change into an object, as `kubectl patch --type merge` does."""
        try:
            with self._asking(f"to change {kind} {name}"):
                answer: Manifest = self._resource(api_version, kind).patch(
                    body=dict(change),
                    name=name,
                    namespace=namespace,
                    content_type="application/merge-patch+json",
                    serializer=_as_it_is,
                )
        except (NotFoundError, ResourceNotFoundError) as error:
            raise LabError(f"{self.context} refused to change {kind} {name}", seen=_reason(error)) from error
        return answer

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Delete an object, if it is there."""
        try:
            with self._asking(f"to delete {kind} {name}"):
                self._resource(api_version, kind).delete(name=name, namespace=namespace)
        except (NotFoundError, ResourceNotFoundError):
            return

    def allowed(self, verb: str, group: str, resource: str, namespace: str = "") -> bool:
        """Whether one may do this, as the API server sees it (`kubectl auth can-i`)."""
        review = self.create(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "metadata": {"name": ""},
                "spec": {
                    "resourceAttributes": {
                        "verb": verb,
                        "group": group,
                        "resource": resource,
                        **({"namespace": namespace} if namespace else {}),
                    }
                },
            }
        )
        return bool(review["status"]["allowed"])

    def is_namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind live in namespaces.

        Raises:
            LabError: The API server does not know the kind.
        """
        try:
            with self._asking(f"to say what {kind} is"):
                return bool(self._resource(api_version, kind).namespaced)
        except (NotFoundError, ResourceNotFoundError) as error:
            raise LabError(f"{self.context} does not know {api_version} {kind}") from error

    def kinds(self, *verbs: str) -> tuple[Kind, ...]:
        """Every kind that the API server has now, each group's in its preferred version, that allows these verbs."""
        with self._asking("to say which kinds it has"):
            groups = json.loads(self.raw("/apis"))["groups"]
            found = self._kinds_of("/api/v1", "v1", verbs)
            for group in groups:
                version = group["preferredVersion"]["groupVersion"]
                try:
                    found += self._kinds_of(f"/apis/{version}", version, verbs)
                except ApiException as error:
                    # An aggregated API whose server is down has no objects that could be listed.
                    log.info("%s does not serve %s: %s", self.context, version, error.status)
        return found

    def _kinds_of(self, path: str, version: str, verbs: Iterable[str]) -> tuple[Kind, ...]:
        return tuple(
            Kind(version, item["kind"], item["name"], bool(item["namespaced"]))
            for item in json.loads(self.raw(path))["resources"]
            if "/" not in item["name"] and set(verbs) <= set(item["verbs"])
        )

    def wait_for_crds(self, manifests: Iterable[Manifest], *, timeout: float = 30) -> None:
        """Wait until the API server serves these CustomResourceDefinitions."""
        for manifest in manifests:
            name = manifest["metadata"]["name"]
            wait_for(
                f"CustomResourceDefinition {name} in {self.context}",
                lambda name=name: conditions(  # type: ignore[misc]
                    self.need("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
                ).get("Established", "False"),
                lambda established: established == "True",
                timeout=timeout,
            )


def _as_it_is(_: dynamic.DynamicClient, answer: Manifest) -> Manifest:
    """Instead of the client's own objects: making them, only to turn them back, takes longer than the request."""
    return answer


def _impersonated(kubeconfig: Path, context: str) -> str:
    """Whom a kubeconfig has one act as; the official client leaves that out, and would act with more rights.

    Raises:
        LabError: It names groups too, which are not passed on: nothing is done as somebody else than was meant.
    """
    content = yaml.safe_load(kubeconfig.read_text())
    users = {item["context"].get("user") for item in content.get("contexts") or [] if item["name"] == context}
    for item in content.get("users") or []:
        user = item.get("user") or {}
        if item["name"] in users and user.keys() & {"as-groups", "as-uid", "as-user-extra"}:
            raise LabError(
                f"{kubeconfig} has {context} act as somebody with groups of their own",
                seen=f"{sorted(key for key in user if key.startswith('as'))}",
                todo="give the context credentials of its own",
            )
        if item["name"] in users and user.get("as"):
            return str(user["as"])
    return ""


def _reason(error: Exception) -> str:
    summary = getattr(error, "summary", None)
    if summary is None:
        return str(error).splitlines()[0]
    try:
        return str(yaml.safe_load(error.body)["message"])  # type: ignore[attr-defined]
    except (yaml.YAMLError, KeyError, TypeError):
        return str(summary())


def is_custom(api_version: str) -> bool:
    """Whether kinds of that version are somebody's own, and not Kubernetes'."""
    group = api_version.rpartition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def conditions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The statuses of an object's conditions by type, such as `{"Ready": "True"}`."""
    found = (manifest.get("status") or {}).get("conditions") or []
    return {item["type"]: item["status"] for item in found}
