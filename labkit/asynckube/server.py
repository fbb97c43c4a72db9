"""One Kubernetes API server: read, watch and write objects as plain JSON.

The official client takes twice the memory for its models of every kind; these programs need a few kinds and their JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from labkit.asynckube.objects import Obj, Resource, name_of, namespace_of
from labkit.errors import LabError

_WATCH_SECONDS = 300
_SILENCE_SECONDS = 90.0  # bookmarks arrive about once a minute
_TIMEOUT = httpx.Timeout(30.0)
_PATIENCE_SECONDS, _PAUSE_SECONDS = 60.0, 0.5
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class ApiError(LabError):
    """An API server refused a request.

    Attributes:
        code: The HTTP status.
        reason: Kubernetes' word for it, such as `AlreadyExists`.
    """

    def __init__(self, what: str, *, code: int, reason: str, seen: str = "") -> None:
        super().__init__(what, seen=seen)
        self.code = code
        self.reason = reason

    @property
    def is_missing(self) -> bool:
        """There is no such object."""
        return self.code == 404

    @property
    def is_conflict(self) -> bool:
        """Somebody else changed the object, or has created it."""
        return self.code == 409

    @property
    def is_invalid(self) -> bool:
        """The object breaks its kind's rules; trying again is of no use."""
        return self.code == 422


class ApiServer:
    """An API server, reached as its kubeconfig's current context says."""

    def __init__(self, kubeconfig: Path) -> None:
        server, verify, headers = _connection(kubeconfig)
        self._client = httpx.AsyncClient(
            base_url=server, verify=verify, headers=headers, timeout=_TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """Read one object."""
        return await self._request("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Read one object, if there is one."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.is_missing:
                return None
            raise

    async def list(self, resource: Resource, namespace: str = "", selector: str = "") -> tuple[list[Obj], str]:
        """Read all objects of a kind, and the resource version from which to watch."""
        answer = await self._request(
            "GET", resource.path(namespace), params={"labelSelector": selector} if selector else None
        )
        items = [
            {"apiVersion": resource.api_version, "kind": resource.kind} | item for item in answer.get("items") or []
        ]
        return items, answer["metadata"]["resourceVersion"]

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object, and read it as stored."""
        return await self._request("POST", resource.path(namespace_of(obj)), body=obj)

    async def patch(
        self, resource: Resource, obj: Obj, patch: Obj, subresource: str = "", *, kind: str = MERGE_PATCH
    ) -> Obj:
        """Apply a merge patch to an object (or to its status), and read it as stored.

        A merge patch can be sent twice without harm: an API server that restarts is waited for, so that what was
        done is not forgotten.
        """
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._request(
                    "PATCH",
                    resource.path(namespace_of(obj), name_of(obj), subresource),
                    body=patch,
                    content_type=kind,
                )
            except httpx.TransportError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)

    async def apply(self, resource: Resource, obj: Obj, manager: str) -> Obj:
        """Create an object, or make it this one (server-side apply), and read it as stored."""
        return await self._request(
            "PATCH",
            resource.path(namespace_of(obj), name_of(obj)),
            body=obj,
            params={"fieldManager": manager, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", grace: int | None = None
    ) -> None:
        """Delete an object; one that is gone already is fine.

        Args:
            resource: Its kind.
            namespace: Its namespace.
            name: Its name.
            uid: Delete only that very object, not another one that took its name.
            grace: Seconds of grace, instead of the object's own.
        """
        options: Obj = {"preconditions": {"uid": uid}} if uid else {}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self._request("DELETE", resource.path(namespace, name), body=options or None)
        except ApiError as error:
            if not error.is_missing and not (uid and error.is_conflict):
                raise

    async def watch(
        self, resource: Resource, namespace: str, version: str, selector: str = ""
    ) -> AsyncIterator[tuple[str, Obj]]:
        """Follow a kind's changes, as (`ADDED`|`MODIFIED`|`DELETED`|`BOOKMARK`, object), until the server ends it.

        Raises:
            ApiError: The server cannot go on from this version (410), or refuses.
        """
        request = self._client.stream(
            "GET",
            resource.path(namespace),
            params={
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(_WATCH_SECONDS),
                **({"labelSelector": selector} if selector else {}),
            },
            timeout=httpx.Timeout(30.0, read=_SILENCE_SECONDS),
        )
        async with request as response:
            if response.status_code != 200:
                raise _refusal("GET", str(response.url), response.status_code, await response.aread())
            async for line in response.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(
                        f"Watching {resource.plural} ended",
                        code=int(status.get("code", 500)),
                        reason=str(status.get("reason", "")),
                        seen=str(status.get("message", "")),
                    )
                yield event["type"], event["object"]

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Obj | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        response = await self._client.request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type} if body is not None else None,
            params=params,
        )
        if response.status_code >= 400:
            raise _refusal(method, path, response.status_code, response.content)
        answer: Obj = response.json()
        return answer


def merge_patch(old: Any, new: Any) -> Any:
    """The JSON merge patch (RFC 7386) that turns one JSON map into another."""
    patch = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif value != old[key]:
            patch[key] = value
    return patch


def _refusal(method: str, path: str, code: int, content: bytes) -> ApiError:
    try:
        status = json.loads(content)
    except ValueError:
        status = {}
    message = status.get("message") or content.decode(errors="replace")[:500]
    return ApiError(message, code=code, reason=status.get("reason", ""), seen=f"{method} {path}: {code}")


def _connection(kubeconfig: Path) -> tuple[str, ssl.SSLContext | bool, dict[str, str]]:
    try:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"]).get("user") or {}
        server = cluster["server"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise LabError(f"{kubeconfig} is no usable kubeconfig", seen=f"{type(error).__name__}: {error}") from error
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    if not server.startswith("https://"):
        return server, False, headers
    tls = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    elif authority := _material(cluster, "certificate-authority", kubeconfig):
        tls = ssl.create_default_context(cadata=authority.decode())
    certificate = _material(user, "client-certificate", kubeconfig)
    private_key = _material(user, "client-key", kubeconfig)
    if certificate and private_key:
        _present(tls, certificate + b"\n" + private_key)
    return server, tls, headers


def _named(entries: list[Obj], name: str) -> Obj:
    return next(entry for entry in entries if entry["name"] == name)


def _material(entry: Obj, field: str, kubeconfig: Path) -> bytes:
    if inline := entry.get(f"{field}-data"):
        return base64.b64decode(str(inline))
    if path := entry.get(field):
        return (kubeconfig.parent / str(path)).read_bytes()
    return b""


def _present(tls: ssl.SSLContext, pair: bytes) -> None:
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair)
        tls.load_cert_chain(path)
    finally:
        Path(path).unlink()
