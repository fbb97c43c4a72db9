"""A container's environment variables, as its pod, ConfigMaps and Secrets say."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from labkit.asynckube.objects import Obj
from labkit.errors import LabError
from labkit.quantities import quantity

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(LabError):
    """A container cannot be made as its pod asks: CreateContainerConfigError."""


@dataclass(frozen=True)
class Sources:
    """ConfigMaps and Secrets of a namespace, by name; one that does not exist is None."""

    config_maps: Mapping[str, Obj | None] = field(default_factory=dict)
    secrets: Mapping[str, Obj | None] = field(default_factory=dict)

    def config_map(self, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """A ConfigMap's content.

        Raises:
            ConfigError: There is none.
        """
        found = self.config_maps.get(name)
        if found is None:
            return _missing(f'configmap "{name}" not found', optional)
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return text | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}

    def secret(self, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """A Secret's content.

        Raises:
            ConfigError: There is none.
        """
        found = self.secrets.get(name)
        if found is None:
            return _missing(f'secret "{name}" not found', optional)
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


@dataclass(frozen=True)
class Variables:
    """A container's variables.

    Attributes:
        values: All of them.
        confidential: Names of those that a Secret had a part in.
    """

    values: dict[str, str]
    confidential: frozenset[str]

    @property
    def public(self) -> dict[str, str]:
        """Those that may be shown."""
        return {name: value for name, value in self.values.items() if name not in self.confidential}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of `$(NAME)`, as Kubernetes does: unknown names stay as they are, `$$` is a `$`."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def references(pod: Obj) -> tuple[set[str], set[str]]:
    """The names of the ConfigMaps and of the Secrets that a pod's containers and volumes use."""
    maps: set[str] = set()
    secrets: set[str] = set()
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for source in _env_sources(container):
            for found, kind in ((maps, "configMap"), (secrets, "secret")):
                for reference in (source.get(f"{kind}Ref"), source.get(f"{kind}KeyRef")):
                    if reference:
                        found.add(reference["name"])
    for volume in spec.get("volumes") or []:
        if "configMap" in volume:
            maps.add(volume["configMap"]["name"])
        if "secret" in volume:
            secrets.add(volume["secret"]["secretName"])
    return maps, secrets


def _env_sources(container: Obj) -> Iterator[Obj]:
    yield from container.get("envFrom") or []
    for item in container.get("env") or []:
        if item.get("valueFrom"):
            yield item["valueFrom"]


def variables(container: Obj, pod: Obj, sources: Sources, *, pod_ip: str, host_ip: str) -> Variables:
    """A container's variables: `envFrom`, then `env` in its order.

    Args:
        container: The container.
        pod: Its pod.
        sources: What `references` names.
        pod_ip: The pod's address, for `fieldRef`.
        host_ip: Its node's address, for `fieldRef`.

    Raises:
        ConfigError: Something that is referred to does not exist; in a kubelet's words.
    """
    values: dict[str, str] = {}
    confidential: set[str] = set()
    for item in container.get("envFrom") or []:
        reference = item.get("configMapRef") or item["secretRef"]
        read = sources.config_map if "configMapRef" in item else sources.secret
        content = read(reference["name"], optional=bool(reference.get("optional")))
        for key, data in content.items():
            name = f"{item.get('prefix', '')}{key}"
            if _NAME.fullmatch(name):
                values[name] = data.decode(errors="replace")
                (confidential.add if "secretRef" in item else confidential.discard)(name)
    for item in container.get("env") or []:
        name, value, secret = item["name"], item.get("value", ""), False
        if source := item.get("valueFrom"):
            found = _value_from(source, container, pod, sources, pod_ip=pod_ip, host_ip=host_ip)
            if found is None:
                continue
            value, secret = found, "secretKeyRef" in source
        else:
            secret = any(match[1] in confidential for match in _REFERENCE.finditer(value))
            value = expand(value, values)
        values[name] = value
        (confidential.add if secret else confidential.discard)(name)
    return Variables(values, frozenset(confidential))


def _value_from(source: Obj, container: Obj, pod: Obj, sources: Sources, *, pod_ip: str, host_ip: str) -> str | None:
    if reference := source.get("fieldRef"):
        return _field(reference["fieldPath"], pod, pod_ip=pod_ip, host_ip=host_ip)
    if reference := source.get("resourceFieldRef"):
        return _resource(reference, container)
    for kind, read, shown in (
        ("configMapKeyRef", sources.config_map, "ConfigMap"),
        ("secretKeyRef", sources.secret, "Secret"),
    ):
        if reference := source.get(kind):
            optional = bool(reference.get("optional"))
            content = read(reference["name"], optional=optional)
            if reference["key"] in content:
                return content[reference["key"]].decode(errors="replace")
            if optional:
                return None
            where = f"{pod['metadata']['namespace']}/{reference['name']}"
            raise ConfigError(f"couldn't find key {reference['key']} in {shown} {where}")
    raise ConfigError(f"unsupported source of a variable: {', '.join(source)}")


def _field(path: str, pod: Obj, *, pod_ip: str, host_ip: str) -> str:
    metadata, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED_FIELD.fullmatch(path):
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(known[path])


def _resource(reference: Obj, container: Obj) -> str:
    kind, _, resource = reference["resource"].partition(".")
    found = ((container.get("resources") or {}).get(kind) or {}).get(resource)
    if found is None:
        raise ConfigError(f"unsupported container resource: {reference['resource']} is not set")
    divisor = quantity(str(reference.get("divisor") or "1")) or 1
    return str(math.ceil(quantity(str(found)) / divisor))


def _missing(message: str, optional: bool) -> dict[str, bytes]:
    if optional:
        return {}
    raise ConfigError(message)
