"""One pod, from the moment it is bound to a node until nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

import httpx

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import SECRET, Obj, Resource, is_deleted, name_of, namespace_of, now, status_of
from labkit.asynckube.server import STRATEGIC_MERGE_PATCH, ApiError, ApiServer
from labkit.podrunner import container as containers
from labkit.podrunner.container import Container
from labkit.podrunner.doors import Door, doors
from labkit.podrunner.environment import ConfigError, Sources, references
from labkit.podrunner.metrics import Metrics
from labkit.podrunner.model import CONFIG_MAP, POD, shown, uid_of
from labkit.podrunner.places import Addresses, Ports
from labkit.podrunner.sandbox import Sandbox
from labkit.podrunner.status import Waiting, pod_status
from labkit.podrunner.support import assert_supported, container_port

log = logging.getLogger("podrunner.pod")

_MANAGER = "labkit-podrunner"
_RETRY_SECONDS = 2.0


class House(containers.House, Protocol):
    """What all pods of a runner share."""

    server: ApiServer
    pods: Informer
    addresses: Addresses
    ports: Ports
    metrics: Metrics


class PodWorker:
    """Runs one pod.

    Args:
        obj: The pod, bound to a node.
        host_ip: The node's address.
        house: What all pods share.
    """

    def __init__(self, obj: Obj, host_ip: str, house: House) -> None:
        self.obj = obj
        self._house = house
        self.host_ip = host_ip
        self.uid = uid_of(obj)
        self.sandbox = Sandbox(house.settings.folder / self.uid)
        remembered = self.sandbox.remembered()
        self.ip = house.addresses.take(status_of(obj).get("podIP", ""))
        self._port = house.ports.take(int(remembered.get("port", 0)))
        self._start_time = status_of(obj).get("startTime") or now()
        self._seen = time.monotonic()
        self._was_known = bool(status_of(obj).get("startTime"))
        known = remembered.get("containers") or {}
        self.init = [
            Container(self, spec, is_init=True, remembered=known.get(spec["name"], {}))
            for spec in obj["spec"].get("initContainers") or []
        ]
        self.containers = [
            Container(self, spec, is_init=False, remembered=known.get(spec["name"], {}))
            for spec in obj["spec"]["containers"]
        ]
        self._dirty = asyncio.Event()
        self._leaving = asyncio.Event()
        self._is_gone = asyncio.Event()
        self._sent: Obj = {}
        self._opened: dict[str, Door] = {}
        self._ending = False
        if is_deleted(obj):
            self._leaving.set()

    @property
    def house(self) -> House:
        """What all pods share."""
        return self._house

    @property
    def port(self) -> int:
        """The pod's own port on 127.0.0.1."""
        return self._port

    @property
    def serves(self) -> bool:
        """Whether its process runs."""
        return any(one.runs for one in self.containers)

    def update(self, obj: Obj) -> None:
        """The pod has changed on the API server."""
        self.obj = obj
        if is_deleted(obj):
            self._leaving.set()

    def gone(self) -> None:
        """The pod is no longer on the API server: what is left of it has to go too."""
        self._is_gone.set()
        self._leaving.set()

    def changed(self) -> None:
        """Something is to be written into the status."""
        self._dirty.set()

    def remember(self) -> None:
        """Keep what the next runner has to know."""
        self.sandbox.remember(
            {
                "name": name_of(self.obj),
                "namespace": namespace_of(self.obj),
                "port": self._port,
                "containers": {one.name: one.as_json() for one in (*self.init, *self.containers)},
            }
        )

    async def sources(self) -> Sources:
        """The ConfigMaps and Secrets that the pod names."""
        maps, secrets = references(self.obj)
        return Sources(
            {name: await self._find(CONFIG_MAP, name) for name in maps},
            {name: await self._find(SECRET, name) for name in secrets},
        )

    async def _find(self, resource: Resource, name: str) -> Obj | None:
        return await self.house.server.find(resource, namespace_of(self.obj), name)

    def take_port(self) -> None:
        """Take another port, if somebody else listens on the pod's own."""
        self._port = self.house.ports.instead_of(self._port)

    async def open_doors(self) -> None:
        """Let kubectl in."""
        everything = [*self.init, *self.containers]
        for door in doors(self.obj, self.sandbox, everything, self._port, container_port(self.obj)):
            if self._opened.get(door.resource.kind) != door:
                await self.house.server.apply(door.resource, door.obj, _MANAGER)
                self._opened[door.resource.kind] = door

    async def run(self) -> None:
        """Run the pod until it is deleted, and then clean up after it."""
        self.sandbox.create()
        writing = asyncio.create_task(self._write())
        living = asyncio.create_task(self._live())
        try:
            await self._leaving.wait()
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await self._end()
        finally:
            for task in (writing, living):
                task.cancel()
            await asyncio.gather(writing, living, return_exceptions=True)
        self.house.addresses.give_back(self.ip)
        self.house.ports.give_back(self._port)
        self.house.events.forget(self.obj)
        await asyncio.to_thread(self.sandbox.remove)

    async def _live(self) -> None:
        while True:
            try:
                await self._try_to_live()
                return
            except Exception as error:
                log.exception("%s broke off", shown(self.obj))
                self.house.events.warning(self.obj, "FailedSync", f"Error syncing pod, skipping: {error}")
            # Not a wait for a condition: a pause before all is tried again.
            await asyncio.sleep(_RETRY_SECONDS)

    async def _try_to_live(self) -> None:
        if status_of(self.obj).get("phase") in ("Succeeded", "Failed"):
            return
        try:
            assert_supported(self.obj)
        except ConfigError as error:
            for one in (*self.init, *self.containers):
                one.refuse(Waiting("CreateContainerConfigError", error.what))
            return
        self.changed()
        for one in self.init:
            if not one.facts.ready and (await one.run()).exit_code != 0:
                return
        await asyncio.gather(*(one.run() for one in self.containers))

    async def _end(self) -> None:
        metadata = self.obj["metadata"]
        grace = metadata.get("deletionGracePeriodSeconds")
        if grace is None:
            grace = self.obj["spec"].get("terminationGracePeriodSeconds", 30)
        await asyncio.gather(*(one.stop(float(grace)) for one in (*self.init, *self.containers)))
        if self._is_gone.is_set():
            return
        self._ending = True
        await self._write_status()
        await self._delete()

    async def _delete(self) -> None:
        while not self._is_gone.is_set():
            try:
                await self.house.server.delete(POD, namespace_of(self.obj), name_of(self.obj), uid=self.uid, grace=0)
                return
            except (ApiError, httpx.HTTPError) as error:
                log.warning("%s could not be deleted: %s", shown(self.obj), error)
                await asyncio.sleep(_RETRY_SECONDS)

    # The status

    async def _write(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self) -> None:
        while not self._is_gone.is_set():
            try:
                await self._try_to_write()
                return
            except ApiError as error:
                if error.is_missing or error.is_conflict:
                    self.gone()
                    return
                log.warning("status of %s was not written: %s", shown(self.obj), error)
            except httpx.HTTPError as error:
                log.warning("status of %s was not written: %s", shown(self.obj), error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _try_to_write(self) -> None:
        status = pod_status(
            self.obj,
            [one.facts for one in self.init],
            [one.facts for one in self.containers],
            pod_ip=self.ip,
            host_ip=self.host_ip,
            start_time=self._start_time,
            now=now(),
            ending=self._ending,
        )
        if status == self._sent:
            return
        patch = {"metadata": {"uid": self.uid}, "status": status}
        await self.house.pods.patch(self.obj, patch, "status", kind=STRATEGIC_MERGE_PATCH)
        self._sent = status
        if not self._was_known and self.serves:
            self.house.metrics.started(time.monotonic() - self._seen)
            self._was_known = True
