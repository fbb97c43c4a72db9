"""Clusters that are there already: contexts of somebody's kubeconfig. They are never started, stopped or deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.clusters.base import ClusterStatus
from labkit.clusters.kubeconfig import read_access
from labkit.clusters.look import observed, reached
from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.kube import Kube


class ExistingClusters:
    """Three contexts of a kubeconfig, under the lab's names.

    The lab's own kubeconfig holds a copy of their entries; the file that they are from is only read.
    """

    name = "existing"
    owned = False

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._choice = lab.settings.existing

    def check(self) -> None:
        """Refuse contexts that the kubeconfig does not have."""
        for environment in self._lab.environments:
            self.access(environment)

    def context(self, environment: Environment) -> str:
        """The context of an environment in its own kubeconfig."""
        return self._choice.contexts[environment.name]

    def ensure(self, environment: Environment) -> None:
        """See to it that the cluster answers."""
        self.start(environment)

    def start(self, environment: Environment) -> None:
        """See to it that the cluster answers.

        Raises:
            LabError: It does not, or it refuses the credentials.
        """
        self._reached(environment)

    def stop(self, environment: Environment) -> None:
        """Leave the cluster running: it is not the lab's."""

    def delete(self, environment: Environment) -> None:
        """Leave the cluster as it is, and forget how to reach it."""
        for file in self._lab.home.clusters.glob(f"*{environment.context}.*"):
            file.unlink()

    def _reached(self, environment: Environment) -> Kube:
        """The API server, by the entries that the kubeconfig has now."""
        return reached(self.own_kubeconfig(environment), environment.context, self.access(environment))

    def status(self, environment: Environment) -> ClusterStatus:
        """How the cluster is now, as its API server says."""
        known = ClusterStatus(environment.name, environment.context, "degraded")
        try:
            known = replace(known, server=self.access(environment)["cluster"].get("server", ""))
            api = self._reached(environment)
        except LabError as error:
            return replace(known, down=(error.what,))
        return observed(api, known)

    def down(self, environment: Environment) -> tuple[str, ...]:
        """Nothing: the components are not the lab's to look after."""
        return ()

    def own_kubeconfig(self, environment: Environment) -> Path:
        """A kubeconfig with this cluster only, under the lab's name for it."""
        return self._lab.home.clusters / f"{environment.context}.kubeconfig"

    def volumes(self, environment: Environment) -> Path:
        """There is no such folder on this machine.

        Raises:
            LabError: Always.
        """
        raise LabError(f"The volumes of {environment.context} are not on this machine")

    def inner_server(self, environment: Environment) -> str:
        """The address that was named for it, else the kubeconfig's."""
        named = self._choice.servers.get(environment.name, "")
        return named or str(self.access(environment)["cluster"].get("server", ""))

    def processes(self, environment: Environment) -> Mapping[str, int]:
        """None: the cluster does not run on this machine as far as the lab knows."""
        return {}

    def access(self, environment: Environment) -> Mapping[str, Any]:
        """The `cluster` and `user` entries of the context, files in them by their whole path."""
        return read_access(
            Path(self._choice.kubeconfig).expanduser(),
            self.context(environment),
            todo=f"name one that is there: `labkit init … --context {environment.name}=CONTEXT --kubeconfig FILE`",
        )
