"""Everything the reconcilers see: copies of Kargo's resources, of each shard's Applications, and the event recorder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import NAMESPACE, SECRET, Obj, name_of, namespace_of
from labkit.asynckube.server import ApiServer
from labkit.kargolite.availability import auto_promotion_enabled
from labkit.kargolite.events import EventRecorder
from labkit.kargolite.model import (
    ANALYSIS_RUN,
    APPLICATION,
    FREIGHT,
    PROJECT,
    PROJECT_CONFIG,
    PROMOTION,
    STAGE,
    WAREHOUSE,
)
from labkit.kargolite.settings import Settings


@dataclass(frozen=True)
class Shard:
    """One Argo CD, and the name under which Stages choose it."""

    name: str
    server: ApiServer
    applications: Informer


class World:
    """The API servers and what is on them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server = ApiServer(settings.control)
        self.events = EventRecorder(self.server, settings.argocd_namespace)
        self.namespaces = Informer(self.server, NAMESPACE)
        self.projects = Informer(self.server, PROJECT)
        self.project_configs = Informer(self.server, PROJECT_CONFIG)
        self.warehouses = Informer(self.server, WAREHOUSE)
        self.freight = Informer(self.server, FREIGHT)
        self.stages = Informer(self.server, STAGE)
        self.promotions = Informer(self.server, PROMOTION)
        self.analysis_runs = Informer(self.server, ANALYSIS_RUN)
        self.secrets = Informer(self.server, SECRET)
        self.shards = {name: self._shard(name) for name in settings.shards}

    @property
    def informers(self) -> list[Informer]:
        """All copies that have to be kept current."""
        return [
            self.namespaces,
            self.projects,
            self.project_configs,
            self.warehouses,
            self.freight,
            self.stages,
            self.promotions,
            self.analysis_runs,
            self.secrets,
            *(shard.applications for shard in self.shards.values()),
        ]

    async def close(self) -> None:
        """Close all connections."""
        await self.events.drain()
        for shard in self.shards.values():
            await shard.server.close()
        await self.server.close()

    def shard_of(self, obj: Obj) -> Shard | None:
        """The shard that a Stage or Warehouse chose; None if nobody serves it."""
        return self.shards.get(obj["spec"].get("shard") or self.settings.default_shard)

    def component(self, kind: str, obj: Obj) -> str:
        """The name under which a shard's controller appears in events, such as `stage-controller-dev`."""
        shard = self.shard_of(obj)
        return f"{kind}-controller-{shard.name}" if shard else f"{kind}-controller"

    def auto_promotion_enabled(self, stage: Obj) -> bool:
        """Whether the Project's policies let the Stage promote by itself."""
        namespace = namespace_of(stage)
        return auto_promotion_enabled(self.project_configs.get(namespace, namespace), stage)

    def promotions_of(self, stage: Obj) -> list[Obj]:
        """All Promotions to a Stage."""
        return [
            promotion
            for promotion in self.promotions.all(namespace_of(stage))
            if promotion["spec"]["stage"] == name_of(stage)
        ]

    def stages_that_request(self, namespace: str, warehouse: str) -> Iterator[Obj]:
        """All Stages that take Freight from a Warehouse."""
        for stage in self.stages.all(namespace):
            if any(request["origin"]["name"] == warehouse for request in stage["spec"].get("requestedFreight") or []):
                yield stage

    def _shard(self, name: str) -> Shard:
        server = ApiServer(self.settings.shards[name])
        return Shard(name, server, Informer(server, APPLICATION, self.settings.argocd_namespace))
