"""What the runner works on: the kinds, and the label that opts a pod in."""

from __future__ import annotations

from labkit.asynckube.objects import Obj, Resource

RUN_LABEL = "lab.labkit.dev/run"
SELECTOR = f"{RUN_LABEL}=process"
NODE_TYPE = ("type", "kwok")
COMPONENT = "kubelet"

_KWOK = "kwok.x-k8s.io"
POD = Resource("Pod", "pods")
NODE = Resource("Node", "nodes", namespaced=False)
SERVICE = Resource("Service", "services")
CONFIG_MAP = Resource("ConfigMap", "configmaps")
ENDPOINT_SLICE = Resource("EndpointSlice", "endpointslices", "discovery.k8s.io", "v1")
LOGS = Resource("Logs", "logs", _KWOK, "v1alpha1")
EXEC = Resource("Exec", "execs", _KWOK, "v1alpha1")
PORT_FORWARD = Resource("PortForward", "portforwards", _KWOK, "v1alpha1")


def uid_of(obj: Obj) -> str:
    """The object's identity: a name may be taken again, this not."""
    return str(obj["metadata"]["uid"])


def shown(pod: Obj) -> str:
    """A pod as a kubelet's messages name it: `name_namespace(uid)`."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
