"""Kubernetes events on pods, as a kubelet writes them: equal ones are counted, not repeated."""

from __future__ import annotations

import asyncio
import logging
import time

import httpx

from labkit.asynckube.objects import EVENT, Obj, now
from labkit.asynckube.server import ApiError, ApiServer
from labkit.podrunner.model import COMPONENT, uid_of

log = logging.getLogger("podrunner.events")


class EventRecorder:
    """Writes events in the background and in their order: a lost event never holds up a pod."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._queue: asyncio.Queue[Obj] = asyncio.Queue()
        self._written: dict[tuple[str, ...], Obj] = {}

    def normal(self, pod: Obj, reason: str, message: str, container: str = "") -> None:
        """Record what is as it should be."""
        self._record("Normal", pod, reason, message, container)

    def warning(self, pod: Obj, reason: str, message: str, container: str = "") -> None:
        """Record what is not as it should be."""
        self._record("Warning", pod, reason, message, container)

    def forget(self, pod: Obj) -> None:
        """The pod is gone."""
        self._written = {key: event for key, event in self._written.items() if key[0] != uid_of(pod)}

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._write(event)
            except (ApiError, httpx.HTTPError) as error:
                log.debug("event %s was not written: %s", event["reason"], error)

    def _record(self, kind: str, pod: Obj, reason: str, message: str, container: str) -> None:
        metadata = pod["metadata"]
        moment = now()
        is_init = any(item["name"] == container for item in pod["spec"].get("initContainers") or [])
        path = f"spec.{'initContainers' if is_init else 'containers'}{{{container}}}"
        self._queue.put_nowait(
            {
                "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}", "namespace": metadata["namespace"]},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                    **({"fieldPath": path} if container else {}),
                },
                "type": kind,
                "reason": reason,
                "message": message[:1024],
                "source": {"component": COMPONENT, "host": pod["spec"]["nodeName"]},
                "reportingComponent": COMPONENT,
                "reportingInstance": pod["spec"]["nodeName"],
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "count": 1,
            }
        )

    async def _write(self, event: Obj) -> None:
        about = event["involvedObject"]
        key = (about["uid"], about.get("fieldPath", ""), event["type"], event["reason"], event["message"])
        if before := self._written.get(key):
            again = {"count": before["count"] + 1, "lastTimestamp": event["lastTimestamp"]}
            self._written[key] = await self._server.patch(EVENT, before, again)
        else:
            self._written[key] = await self._server.create(EVENT, event)
