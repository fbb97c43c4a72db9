"""A local copy of all objects of one kind, kept current by a watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import httpx

from labkit.asynckube.objects import Key, Obj, Resource, is_deleted, key_of, status_of
from labkit.asynckube.server import MERGE_PATCH, ApiError, ApiServer, merge_patch

log = logging.getLogger("labkit.informer")

Handler = Callable[[Obj | None, Obj | None], None]
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0


class Informer:
    """Lists, watches, and lists again after the API server was away; calls handlers with (before, after).

    Args:
        server: Where.
        resource: Which kind.
        namespace: Only in this namespace, if one is given.
        selector: Only those with these labels, as `kubectl -l` takes it.
    """

    def __init__(self, server: ApiServer, resource: Resource, namespace: str = "", selector: str = "") -> None:
        self.resource = resource
        self.connected = False
        self._server = server
        self._namespace = namespace
        self._selector = selector
        self._objects: dict[Key, Obj] = {}
        self._handlers: list[Handler] = []
        self._problem = ""

    def on_change(self, handler: Handler) -> None:
        """Call `handler(before, after)` at every change; None means absent."""
        self._handlers.append(handler)

    def get(self, namespace: str, name: str) -> Obj | None:
        """The object as last seen. Not to be changed."""
        return self._objects.get(Key(namespace, name))

    def all(self, namespace: str | None = None) -> Iterator[Obj]:
        """All objects (of a namespace) as last seen. Not to be changed."""
        return iter([obj for key, obj in self._objects.items() if namespace is None or key.namespace == namespace])

    async def run(self) -> None:
        """List and watch until cancelled."""
        pause = _SHORTEST_PAUSE
        while True:
            try:
                version = await self._list()
                pause = _SHORTEST_PAUSE
                while True:
                    version = await self._watch(version)
            except (ApiError, httpx.HTTPError, ValueError) as error:
                expired = isinstance(error, ApiError) and error.code == 410
                problem = str(error) or type(error).__name__
                if not expired and (self.connected or problem != self._problem):
                    log.warning("%s are not watched: %s", self.resource.plural, problem)
                    self._problem = problem
                self.connected = self.connected and expired
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def create(self, obj: Obj) -> Obj:
        """Create an object; it is in the copy at once."""
        return self._keep(await self._server.create(self.resource, obj))

    async def patch(self, obj: Obj, patch: Obj, subresource: str = "", *, kind: str = MERGE_PATCH) -> Obj:
        """Apply a merge patch; the result is in the copy at once."""
        return self._keep(await self._server.patch(self.resource, obj, patch, subresource, kind=kind))

    async def patch_status(self, obj: Obj, status: Obj) -> Obj:
        """Make the object's status this one, as a patch of what differs; nothing is sent where nothing does."""
        difference = merge_patch(status_of(obj), status)
        if not difference:
            return obj
        return await self.patch(obj, {"status": difference}, "status")

    async def read(self, namespace: str, name: str) -> Obj | None:
        """The object as the API server has it now."""
        obj = await self._server.find(self.resource, namespace, name)
        return obj if obj is None else self._keep(obj)

    async def _list(self) -> str:
        items, version = await self._server.list(self.resource, self._namespace, self._selector)
        listed = {key_of(item): item for item in items}
        for key in [key for key in self._objects if key not in listed]:
            self._forget(key)
        for item in items:
            self._keep(item)
        if not self.connected:
            log.info("watching %s (%d objects)", self.resource.plural, len(items))
        self.connected = True
        return version

    async def _watch(self, version: str) -> str:
        async for kind, obj in self._server.watch(self.resource, self._namespace, version, self._selector):
            version = obj["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self._forget(key_of(obj))
            elif kind != "BOOKMARK":
                self._keep(obj)
        return version

    def _keep(self, obj: Obj) -> Obj:
        key = key_of(obj)
        if _is_gone(obj):
            self._forget(key)  # the answer to the patch that let it go may come after the watch said that it is gone
            return obj
        before = self._objects.get(key)
        if before is not None and _age(obj) <= _age(before) and _uid(obj) == _uid(before):
            return before
        self._objects[key] = obj
        self._tell(before, obj)
        return obj

    def _forget(self, key: Key) -> None:
        if before := self._objects.pop(key, None):
            self._tell(before, None)

    def _tell(self, before: Obj | None, after: Obj | None) -> None:
        for handler in self._handlers:
            handler(before, after)


def _is_gone(obj: Obj) -> bool:
    """Whether nothing holds a deleted object any more: no finalizer, no grace period."""
    metadata = obj["metadata"]
    return is_deleted(obj) and not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")


def _age(obj: Obj) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _uid(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])
