"""The runner: watches a cluster's pods, and has a worker for each that is its own."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import Obj, labels_of, name_of, namespace_of, status_of
from labkit.asynckube.server import ApiServer
from labkit.errors import LabError
from labkit.podrunner.events import EventRecorder
from labkit.podrunner.images import ImageCache
from labkit.podrunner.metrics import Metrics, Sample
from labkit.podrunner.model import ENDPOINT_SLICE, NODE, NODE_TYPE, POD, SELECTOR, SERVICE, shown, uid_of
from labkit.podrunner.places import Addresses, Ports
from labkit.podrunner.pod import PodWorker
from labkit.podrunner.processes import Process
from labkit.podrunner.proxy import Proxy
from labkit.podrunner.sandbox import Sandbox
from labkit.podrunner.services import Endpoint, Services
from labkit.podrunner.settings import Settings
from labkit.podrunner.support import container_port
from labkit.process import LOOPBACK

log = logging.getLogger("podrunner")


class Runner:
    """Runs the pods of one cluster.

    Args:
        settings: Whose pods, and where.
        python: The interpreter that pods find as `python3`.
    """

    def __init__(self, settings: Settings, python: str) -> None:
        self.settings = settings
        self.server = ApiServer(settings.kubeconfig)
        self.events = EventRecorder(self.server)
        self.images = ImageCache(settings.images, python)
        self.addresses = Addresses(settings.network)
        self.ports = Ports()
        self.metrics = Metrics(settings.environment, self._samples)
        self.binaries = settings.folder / "bin"
        self._python = python
        self.pods = Informer(self.server, POD, selector=SELECTOR)
        self._nodes = Informer(self.server, NODE)
        services, slices = Informer(self.server, SERVICE), Informer(self.server, ENDPOINT_SLICE)
        self._informers = [self._nodes, self.pods, services, slices]
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._by_address: dict[str, PodWorker] = {}
        self._proxy = Proxy(Services(services, slices), self._locate, self.metrics, self._problems)

    async def run(self) -> None:
        """Run until cancelled; the pods' processes live on."""
        self._prepare_folder()
        await self._proxy.start(self.settings.port, self.settings.gateways)
        self._nodes.on_change(lambda _, __: self._look_again())
        self.pods.on_change(self._changed)
        tasks = [asyncio.create_task(informer.run()) for informer in self._informers]
        tasks += [asyncio.create_task(self.events.run()), asyncio.create_task(self._remove_left_overs())]
        log.info("started: pods of %s", self.settings.environment)
        try:
            for done in asyncio.as_completed(tasks[:-1]):
                await done
        finally:
            tasks += self._tasks.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._proxy.stop()
            await self.server.close()
            log.info("stopped")

    def _prepare_folder(self) -> None:
        self.binaries.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("python", "python3"):
            link = self.binaries / name
            link.unlink(missing_ok=True)
            link.symlink_to(self._python)

    def _problems(self) -> list[str]:
        return [f"{item.resource.plural} are not watched" for item in self._informers if not item.connected]

    def _changed(self, before: Obj | None, after: Obj | None) -> None:
        replaced = before is not None and (after is None or uid_of(after) != uid_of(before))
        if before is not None and replaced and (worker := self._workers.get(uid_of(before))):
            worker.gone()
        if after is not None:
            if worker := self._workers.get(uid_of(after)):
                worker.update(after)
            else:
                self._begin(after)

    def _look_again(self) -> None:
        for pod in self.pods.all():
            if uid_of(pod) not in self._workers:
                self._begin(pod)

    def _begin(self, pod: Obj) -> None:
        """Run a pod that is bound to a node of the lab's."""
        node = self._nodes.get("", pod["spec"].get("nodeName", ""))
        kind, value = NODE_TYPE
        if node is None or labels_of(node).get(kind) != value:
            return
        log.info("running %s", shown(pod))
        try:
            worker = PodWorker(pod, _address_of(node), self)
        except (LabError, KeyError, ValueError):
            log.exception("%s cannot be run", shown(pod))
            return
        self._workers[worker.uid] = worker
        self._by_address[worker.ip] = worker
        task = asyncio.create_task(worker.run())
        self._tasks[worker.uid] = task
        task.add_done_callback(lambda done: self._ended(worker, done))

    def _ended(self, worker: PodWorker, task: asyncio.Task[None]) -> None:
        self._workers.pop(worker.uid, None)
        self._tasks.pop(worker.uid, None)
        if self._by_address.get(worker.ip) is worker:
            del self._by_address[worker.ip]
        if not task.cancelled() and (error := task.exception()):
            log.error("the worker of %s broke off", shown(worker.obj), exc_info=error)
        elif not task.cancelled():
            log.info("%s is gone", shown(worker.obj))

    async def _remove_left_overs(self) -> None:
        """End what runs for pods that were deleted while no runner was there."""
        while not (self._nodes.connected and self.pods.connected):
            await asyncio.sleep(0.1)
        for folder in self.settings.folder.iterdir():
            if not folder.is_dir() or folder == self.binaries or folder.name in self._workers:
                continue
            sandbox = Sandbox(folder)
            remembered = sandbox.remembered().get("containers") or {}
            for data in remembered.values():
                if data.get("process"):
                    process = Process.known(data["process"])
                    if process.alive:
                        log.info("ending pid %d of a pod that is gone", process.pid)
                        await process.stop(1)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _locate(self, endpoint: Endpoint) -> int | None:
        worker = self._by_address.get(endpoint.address)
        if worker is None or not worker.serves or container_port(worker.obj) != endpoint.port:
            return None
        return worker.port

    def _samples(self) -> Iterator[Sample]:
        for worker in list(self._workers.values()):
            if status_of(worker.obj).get("phase") in ("Succeeded", "Failed"):
                continue
            for container, spec in zip(worker.containers, worker.obj["spec"]["containers"], strict=True):
                resources = spec.get("resources") or {}
                yield Sample(
                    namespace=namespace_of(worker.obj),
                    pod=name_of(worker.obj),
                    container=container.name,
                    process=container.process if container.runs else None,
                    requests=resources.get("requests") or {},
                    limits=resources.get("limits") or {},
                    restarts=container.facts.restarts,
                    ready=container.facts.ready,
                )


def _address_of(node: Obj) -> str:
    """The node's address; the lab's nodes have none but this machine's."""
    addresses = status_of(node).get("addresses") or []
    return str(next((item["address"] for item in addresses if item["type"] == "InternalIP"), LOOPBACK))


def base_interpreter(executable: str) -> str:
    """The Python below a virtual environment: pods see its standard library, not labkit's packages."""
    return str(Path(executable).resolve())
