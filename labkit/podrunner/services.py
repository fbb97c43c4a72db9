"""Which pods a name stands for: Services and their EndpointSlices, as kube-proxy and the cluster's DNS would say."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import Obj, labels_of, name_of, namespace_of
from labkit.errors import LabError

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(
    rf"(?P<service>{_LABEL})(?:\.(?P<namespace>{_LABEL})(?:\.svc(?:\.cluster\.local)?)?)?\.?", re.ASCII | re.IGNORECASE
)
_PORT = 80


class UnknownHost(LabError):  # noqa: N818 (it reads as what it is)
    """A name or address that stands for nothing in this cluster."""


@dataclass(frozen=True)
class Host:
    """What a request is for: a Service by its name, or an address.

    Attributes:
        service: The Service's name; empty for an address.
        namespace: Its namespace; empty if the caller's own is meant.
        address: The address; empty for a Service.
        port: The port.
    """

    service: str
    namespace: str
    address: str
    port: int


@dataclass(frozen=True)
class Endpoint:
    """One pod behind a Service: its address and the port that it says it listens on."""

    address: str
    port: int


def parse_host(name: str, port: int | None = None) -> Host:
    """Read the host of a URL.

    Args:
        name: Host name or address.
        port: The port, if the URL has one.

    Raises:
        UnknownHost: It can be neither a Service's name nor an address.
    """
    number = _PORT if port is None else port
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        match = _NAME.fullmatch(name)
        if match is None:
            raise UnknownHost(f"{name} is no Service of this cluster, and other hosts are not served here") from None
        return Host(match["service"].lower(), (match["namespace"] or "").lower(), "", number)
    return Host("", "", str(address), number)


class Services:
    """The Services of a cluster.

    Args:
        services: A copy of all Services.
        slices: A copy of all EndpointSlices.
    """

    def __init__(self, services: Informer, slices: Informer) -> None:
        self._services = services
        self._slices = slices

    def endpoints(self, host: Host, namespace: str) -> list[Endpoint]:
        """The pods that a request may go to, in the order in which to try them: at random.

        Only ready ones; where there is none, those that end but still serve, as kube-proxy does.

        Args:
            host: What the request is for.
            namespace: The caller's namespace.

        Raises:
            UnknownHost: There is no such Service or port; a Service without endpoints has none to give.
        """
        service = self._by_address(host.address) if host.address else self._by_name(host, namespace)
        if service is None:
            return [Endpoint(host.address, host.port)]
        shown = f"{name_of(service)}.{namespace_of(service)}"
        port = next((item for item in service["spec"].get("ports") or [] if item["port"] == host.port), None)
        if port is None:
            raise UnknownHost(f"Service {shown} has no port {host.port}")
        found = list(self._of(service, port.get("name", "")))
        ready = [endpoint for endpoint, state in found if state.get("ready", True)]
        serving = [endpoint for endpoint, state in found if state.get("serving") and state.get("terminating")]
        chosen = ready or serving
        random.shuffle(chosen)
        return chosen

    def _by_name(self, host: Host, namespace: str) -> Obj:
        namespace = host.namespace or namespace
        if not namespace:
            raise UnknownHost(f"{host.service}: in which namespace? Name it, or say yours to the proxy")
        service = self._services.get(namespace, host.service)
        if service is None:
            raise UnknownHost(f"There is no Service {host.service} in namespace {namespace}")
        return service

    def _by_address(self, address: str) -> Obj | None:
        return next((item for item in self._services.all() if address in (item["spec"].get("clusterIPs") or [])), None)

    def _of(self, service: Obj, port_name: str) -> Iterator[tuple[Endpoint, Obj]]:
        for item in self._slices.all(namespace_of(service)):
            if labels_of(item).get("kubernetes.io/service-name") != name_of(service):
                continue
            ports: Iterable[Obj] = item.get("ports") or []
            number = next((port["port"] for port in ports if (port.get("name") or "") == port_name), None)
            if number is None:
                continue
            for endpoint in item.get("endpoints") or []:
                for address in endpoint["addresses"][:1]:
                    yield Endpoint(address, number), endpoint.get("conditions") or {}
