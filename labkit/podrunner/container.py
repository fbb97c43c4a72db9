"""One container of a pod: its image, its process, its probes, and starting it again."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from labkit.asynckube.objects import Obj, now, parse_time, status_of
from labkit.asynckube.server import ApiServer
from labkit.errors import LabError
from labkit.podrunner.backoff import BackOff
from labkit.podrunner.environment import ConfigError, Sources, Variables, expand, variables
from labkit.podrunner.events import EventRecorder
from labkit.podrunner.images import ImageCache, InvalidImageName, LocalImage
from labkit.podrunner.logs import ContainerLog
from labkit.podrunner.model import shown
from labkit.podrunner.probes import Count, Probe, Target
from labkit.podrunner.processes import Process, start
from labkit.podrunner.sandbox import Sandbox
from labkit.podrunner.settings import Settings
from labkit.podrunner.status import Facts, Running, Terminated, Waiting, restarts_after, terminated
from labkit.podrunner.storage import claimed_folders
from labkit.podrunner.support import container_port
from labkit.process import LOOPBACK, POD_MARK

log = logging.getLogger("podrunner.container")

_RETRY_SECONDS = 5.0
_SHOWN_SECONDS = 1.0


class House(Protocol):
    """What all pods of a runner share."""

    settings: Settings
    server: ApiServer
    events: EventRecorder
    images: ImageCache
    binaries: Path


class Pod(Protocol):
    """What a container needs of its pod."""

    obj: Obj
    sandbox: Sandbox
    ip: str
    host_ip: str

    @property
    def house(self) -> House:
        """What all pods share."""

    @property
    def port(self) -> int:
        """The pod's own port on 127.0.0.1."""

    async def sources(self) -> Sources:
        """The ConfigMaps and Secrets that the pod names."""

    def take_port(self) -> None:
        """Make sure that the port is still free."""

    async def open_doors(self) -> None:
        """Let kubectl in."""

    def changed(self) -> None:
        """Something is to be written into the status."""

    def remember(self) -> None:
        """Something is to be kept for the next runner."""


@dataclass(frozen=True)
class Prepared:
    """A container that can be started: what, where, with which variables."""

    command: list[str]
    folder: Path
    environment: dict[str, str]
    public: dict[str, str]


class Container:
    """A container of a pod.

    Args:
        pod: Its pod.
        spec: The container, as in the pod's spec.
        is_init: Whether it runs to its end before the others.
        remembered: What an earlier runner kept about it.
    """

    def __init__(self, pod: Pod, spec: Obj, *, is_init: bool, remembered: Obj) -> None:
        self._pod = pod
        self._spec = spec
        self._is_init = is_init
        self.name: str = spec["name"]
        settings = pod.house.settings
        self._restarts = BackOff(settings.restarts)
        self._pulls = BackOff(settings.pulls)
        self._log = ContainerLog(pod.sandbox.log(self.name), pod.sandbox.previous_log(self.name), settings.log_bytes)
        self.process: Process | None = None
        self.prepared: Prepared | None = None
        self._adopted = False
        waiting = "PodInitializing" if not is_init and pod.obj["spec"].get("initContainers") else "ContainerCreating"
        self.facts = Facts(self.name, spec["image"], state=Waiting(waiting))
        self._take_over(remembered)

    @property
    def runs(self) -> bool:
        """Whether its process runs."""
        return isinstance(self.facts.state, Running)

    def as_json(self) -> Obj:
        """What the next runner has to know."""
        return {"process": self.process.as_json() if self.process else None, "facts": self.facts.as_json()}

    def _take_over(self, remembered: Obj) -> None:
        statuses = status_of(self._pod.obj)
        listed = statuses.get("initContainerStatuses" if self._is_init else "containerStatuses") or []
        known = next((item for item in listed if item["name"] == self.name), None)
        if known is None:
            return
        written = remembered.get("facts") or known
        self.facts = replace(
            self.facts,
            image_id=written.get("imageID", ""),
            container_id=written.get("containerID", ""),
            last=terminated(written.get("lastState")),
            restarts=max(int(known.get("restartCount", 0)), int(written.get("restartCount", 0))),
        )
        state = written.get("state") or {}
        if end := terminated(state):
            self.facts = replace(self.facts, state=end, ready=self._is_init and end.exit_code == 0)
        elif "running" in state:
            started_at = state["running"]["startedAt"]
            if data := remembered.get("process"):
                self.process, self._adopted = Process.known(data), True
                self.facts = replace(
                    self.facts,
                    state=Running(started_at),
                    ready=bool(known.get("ready")) and self.process.alive,
                    started=bool(known.get("started")),
                )
            else:
                self.facts = replace(self.facts, state=self._end_of(137, started_at, time.time()))
        elif self.facts.last:
            self.facts = replace(self.facts, state=self.facts.last)

    async def run(self) -> Terminated:
        """Run it, again and again as its pod asks, until it is not to be started again.

        Returns:
            How it ended.
        """
        policy = self._pod.obj["spec"].get("restartPolicy", "Always")
        while True:
            end = self.facts.state if isinstance(self.facts.state, Terminated) else await self._run_once()
            if not restarts_after(policy, end.exit_code, is_init=self._is_init):
                return end
            await self._pause(end)
            self._set(state=Waiting("ContainerCreating"), last=end, restarts=self.facts.restarts + 1, quiet=True)

    def refuse(self, state: Waiting) -> None:
        """It will not be run: say why."""
        if self.facts.state != state:
            self._event_failed(state.message)
        self._set(state=state)

    async def stop(self, grace: float) -> None:
        """End its process, if it runs."""
        if self.process is None or not isinstance(self.facts.state, Running):
            if not isinstance(self.facts.state, Terminated):
                self._log.end()
            return
        self._pod.house.events.normal(self._pod.obj, "Killing", f"Stopping container {self.name}", self.name)
        code = await self.process.stop(grace)
        self._note_end(self.process, code)

    # Starting

    async def _run_once(self) -> Terminated:
        process = self.process if self._adopted else None
        if process is not None:
            self._adopted = False
            self._log.resume()
            self._pod.house.events.normal(self._pod.obj, "Adopted", "Container adopted by a new pod runner", self.name)
        while process is None:
            image = await self._image()
            try:
                process = await self._start(image)
            except ConfigError as error:
                await self._wait_refused("CreateContainerConfigError", str(error))
            except OSError as error:
                message = f'exec: "{error.filename}": {error.strerror}'
                self._event_failed(message)
                moment = now()
                end = Terminated(128, "StartError", moment, moment, "", message)
                self._set(state=end, ready=False, started=False)
                return end
        return await self._watch(process)

    async def _wait_refused(self, reason: str, message: str) -> None:
        self._set(state=Waiting(reason, message))
        self._event_failed(message)
        await asyncio.sleep(_RETRY_SECONDS)

    def _event_failed(self, message: str) -> None:
        self._pod.house.events.warning(self._pod.obj, "Failed", f"Error: {message}", self.name)

    async def _image(self) -> LocalImage:
        events, name, policy = self._pod.house.events, self._spec["image"], self._spec.get("imagePullPolicy")
        while True:
            try:
                image = self._pod.house.images.find(name)
            except InvalidImageName as error:
                events.warning(self._pod.obj, "InspectFailed", error.what, self.name)
                await self._wait_refused("InvalidImageName", error.what)
                continue
            if image and policy != "Always":
                message = f'Container image "{name}" already present on machine and can be accessed by the pod'
                events.normal(self._pod.obj, "Pulled", message, self.name)
                return image
            if policy == "Never":
                message = f'Container image "{name}" is not present with pull policy of Never'
                events.warning(self._pod.obj, "ErrImageNeverPull", message, self.name)
                await self._wait_refused("ErrImageNeverPull", message)
                continue
            if image := await self._pull(name):
                return image

    async def _pull(self, name: str) -> LocalImage | None:
        events = self._pod.house.events
        events.normal(self._pod.obj, "Pulling", f'Pulling image "{name}"', self.name)
        began = time.monotonic()
        try:
            image = await self._pod.house.images.pull(name)
        except LabError as error:
            said = f"{error.what} ({error.seen})" if error.seen else error.what
        else:
            took = f"{(time.monotonic() - began) * 1000:.0f}ms"
            events.normal(
                self._pod.obj,
                "Pulled",
                f'Successfully pulled image "{name}" in {took} ({took} including waiting). '
                f"Image size: {image.size} bytes.",
                self.name,
            )
            return image
        events.warning(self._pod.obj, "Failed", f'Failed to pull image "{name}": {said}', self.name)
        self._event_failed("ErrImagePull")
        self._set(state=Waiting("ErrImagePull", said))
        failed = time.time()
        self._pulls.next(failed)
        pause = self._pulls.until(failed) - failed
        # A kubelet shows this until it looks at the pod again.
        await asyncio.sleep(min(_SHOWN_SECONDS, pause / 2))
        message = f'Back-off pulling image "{name}"'
        self._set(state=Waiting("ImagePullBackOff", f"{message}: ErrImagePull: {said}"))
        events.normal(self._pod.obj, "BackOff", message, self.name)
        self._event_failed("ImagePullBackOff")
        await asyncio.sleep(max(0.0, failed + pause - time.time()))
        return None

    async def _start(self, image: LocalImage) -> Process:
        self.prepared = await self._prepare(image)
        self._log.begin()
        out, err = self._log.writers()
        try:
            process = start(
                self.prepared.command,
                environment=self.prepared.environment,
                folder=self.prepared.folder,
                exit_file=self._pod.sandbox.folder / f"{self.name}.exit",
                out=out,
                err=err,
            )
        except OSError:
            self._log.end()
            raise
        finally:
            os.close(out)
            os.close(err)
        self.process = process
        has_startup = "startupProbe" in self._spec
        self._set(
            state=Running(now()),
            image_id=image.image_id,
            container_id=f"process://{process.pid}-{int(process.identity.started * 1000)}",
            started=not has_startup and not self._is_init,
            ready=not has_startup and "readinessProbe" not in self._spec and not self._is_init,
            quiet=True,
        )
        self._pod.remember()
        events = self._pod.house.events
        events.normal(self._pod.obj, "Created", "Container created", self.name)
        events.normal(self._pod.obj, "Started", "Container started", self.name)
        await self._pod.open_doors()
        self._pod.changed()
        return process

    async def _prepare(self, image: LocalImage) -> Prepared:
        pod, sandbox, spec = self._pod, self._pod.sandbox, self._spec
        sources = await pod.sources()
        try:
            claimed = await claimed_folders(pod.house.server, pod.obj, pod.house.settings.volumes)
            sandbox.prepare_volumes(pod.obj, sources, claimed)
        except ConfigError as error:
            pod.house.events.warning(pod.obj, "FailedMount", f"MountVolume.SetUp failed: {error}")
            raise
        pod.take_port()
        own = variables(spec, pod.obj, sources, pod_ip=pod.ip, host_ip=pod.host_ip)
        root = await asyncio.to_thread(sandbox.prepare_root, spec, image)
        folder = sandbox.working_directory(root, spec, image)
        environment = self._environment(image, own)
        command = list(spec.get("command") or image.config.get("Entrypoint") or [])
        if spec.get("args"):
            command += spec["args"]
        elif not spec.get("command"):
            command += image.config.get("Cmd") or []
        if not command:
            raise ConfigError("no command specified")
        command = [expand(word, own.values) for word in command]
        program = _program(command[0], root, folder, environment["PATH"])
        if program is None:
            raise FileNotFoundError(2, "executable file not found in $PATH", command[0])
        public = {name: value for name, value in environment.items() if name not in own.confidential}
        return Prepared([program, *command[1:]], folder, environment, public)

    def _environment(self, image: LocalImage, own: Variables) -> dict[str, str]:
        """The variables of the process: the machine's few, the image's, the pod's, and where its network is."""
        pod, settings = self._pod, self._pod.house.settings
        metadata = pod.obj["metadata"]
        found = {"LANG": "C.UTF-8", "HOME": str(pod.sandbox.home), "TMPDIR": str(pod.sandbox.home)}
        found |= dict(item.partition("=")[::2] for item in image.config.get("Env") or [])
        found |= own.values
        path = found.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        # Names that nobody can resolve here are resolved by the proxy, which is told who asks.
        proxy = f"http://{metadata['namespace']}:{metadata['name']}@{LOOPBACK}:{settings.port}"
        return found | {
            "PATH": f"{pod.house.binaries}:{path}",
            "HOSTNAME": metadata["name"],
            "HOST": LOOPBACK,
            "PORT": str(pod.port),
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
            "NO_PROXY": f"{LOOPBACK},localhost",
            "no_proxy": f"{LOOPBACK},localhost",
            POD_MARK: str(settings.home),
        }

    # Running

    async def _watch(self, process: Process) -> Terminated:
        probing = asyncio.create_task(self._probe(process))
        try:
            code = await process.ended()
        finally:
            probing.cancel()
            (problem,) = await asyncio.gather(probing, return_exceptions=True)
            if isinstance(problem, Exception):
                log.error("probes of %s broke off", shown(self._pod.obj), exc_info=problem)
        return self._note_end(process, code)

    def _note_end(self, process: Process, code: int) -> Terminated:
        self._log.end()
        state = self.facts.state
        started_at = state.started_at if isinstance(state, Running) else now()
        try:
            finished = process.exit_file.stat().st_mtime
        except FileNotFoundError:
            finished = time.time()
        end = self._end_of(code, started_at, finished)
        self._set(state=end, ready=self._is_init and code == 0, started=False)
        self._pod.remember()
        return end

    def _end_of(self, code: int, started_at: str, finished: float) -> Terminated:
        finished_at = datetime.fromtimestamp(finished, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        reason = "Completed" if code == 0 else "Error"
        return Terminated(code, reason, started_at, finished_at, self.facts.container_id)

    async def _pause(self, end: Terminated) -> None:
        """Wait as long as the back-off says."""
        failed = parse_time(end.finished_at).timestamp()
        until = self._restarts.until(failed)
        if until > time.time():
            pod = shown(self._pod.obj)
            seconds = _duration(self._restarts.seconds)
            message = f"back-off {seconds} restarting failed container={self.name} pod={pod}"
            self._set(state=Waiting("CrashLoopBackOff", message), last=end)
            self._pod.house.events.warning(
                self._pod.obj, "BackOff", f"Back-off restarting failed container {self.name} in pod {pod}", self.name
            )
            await asyncio.sleep(until - time.time())
        self._restarts.next(failed)

    async def _probe(self, process: Process) -> None:
        target = self._target()
        startup = Probe.of(self._spec, "startup")
        if startup and not self.facts.started:
            failed = await self._ask(startup, "Startup", target, None, lambda state: self._has_started(bool(state)))
            if failed:
                await self._kill(process, "startup")
                return
        await asyncio.gather(self._probe_readiness(target), self._probe_liveness(process, target))

    def _has_started(self, succeeded: bool) -> bool:
        if succeeded:
            self._set(started=True, ready="readinessProbe" not in self._spec)
        return True

    async def _probe_readiness(self, target: Target) -> None:
        if probe := Probe.of(self._spec, "readiness"):

            def decided(state: bool) -> bool:
                if state != self.facts.ready:
                    self._set(ready=state)
                return False

            await self._ask(probe, "Readiness", target, self.facts.ready, decided)

    async def _probe_liveness(self, process: Process, target: Target) -> None:
        probe = Probe.of(self._spec, "liveness")
        if probe and await self._ask(probe, "Liveness", target, True, lambda state: not state):
            await self._kill(process, "liveness")

    async def _ask(
        self, probe: Probe, kind: str, target: Target, state: bool | None, decided: Callable[[bool], bool]
    ) -> bool:
        """Ask until `decided(state)` says that it was enough.

        Returns:
            Whether the last state was a failure.
        """
        began = parse_time(self._started_at()).timestamp()
        delay = began + probe.initial_delay - time.time()
        if time.time() - began > probe.period:
            # After a runner's restart, not all probes of all pods at once.
            delay = max(delay, random.uniform(0, probe.period))
        await asyncio.sleep(max(0.0, delay))
        count = Count(probe, state)
        loop = asyncio.get_running_loop()
        tick = loop.time()
        while True:
            problem = await probe.ask(target)
            if problem is not None:
                self._pod.house.events.warning(self._pod.obj, "Unhealthy", f"{kind} probe failed: {problem}", self.name)
            if count.add(problem is None) and decided(bool(count.state)):
                return not count.state
            tick = max(tick + probe.period, loop.time())
            await asyncio.sleep(tick - loop.time())

    async def _kill(self, process: Process, kind: str) -> None:
        policy = self._pod.obj["spec"].get("restartPolicy", "Always")
        message = f"Container {self.name} failed {kind} probe"
        if policy != "Never":
            message += ", will be restarted"
        self._pod.house.events.normal(self._pod.obj, "Killing", message, self.name)
        own = (self._spec.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds")
        grace = own if own is not None else self._pod.obj["spec"].get("terminationGracePeriodSeconds", 30)
        await process.stop(float(grace))

    def _started_at(self) -> str:
        state = self.facts.state
        return state.started_at if isinstance(state, Running) else now()

    def _target(self) -> Target:
        pod, prepared = self._pod, self.prepared
        return Target(
            ip=pod.ip,
            port=container_port(pod.obj),
            real_port=pod.port,
            folder=prepared.folder if prepared else pod.sandbox.folder / "roots" / self.name,
            environment=prepared.environment if prepared else {"PATH": f"{pod.house.binaries}:/usr/bin:/bin"},
        )

    def _set(self, *, quiet: bool = False, **changes: object) -> None:
        self.facts = replace(self.facts, **changes)  # type: ignore[arg-type]
        if not quiet:
            self._pod.changed()


def _program(name: str, root: Path, folder: Path, path: str) -> str | None:
    """Where a command's program is: in the image, else on this machine, which stands in for the base image."""
    if name.startswith("/"):
        own = Sandbox.inside(root, name)
        return str(own) if own.is_file() else shutil.which(name)
    if "/" in name:
        return shutil.which(folder / name)
    return shutil.which(name, path=path)


def _duration(seconds: float) -> str:
    """A duration as Go writes it, such as `1m20s`."""
    return f"{seconds:g}s" if seconds < 60 else f"{int(seconds // 60)}m{seconds % 60:g}s"
