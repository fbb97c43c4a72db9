"""What pods really use, and how the runner does: metrics for Prometheus, under a kubelet's names where it has any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from labkit.podrunner.processes import Process
from labkit.process import processor_seconds, proportional_set_size
from labkit.quantities import quantity

_LABELS = ("environment", "namespace", "pod", "container")
_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Sample:
    """One container to be measured."""

    namespace: str
    pod: str
    container: str
    process: Process | None
    requests: dict[str, str]
    limits: dict[str, str]
    restarts: int
    ready: bool


class Metrics:
    """The metrics of a runner.

    Args:
        environment: The environment, a label of all metrics.
        containers: Gives the containers of all pods.
    """

    def __init__(self, environment: str, containers: Callable[[], Iterable[Sample]]) -> None:
        self._environment = environment
        self._registry = CollectorRegistry()
        self._registry.register(_Containers(environment, containers))
        self._start = Histogram(
            "kubelet_pod_start_duration_seconds",
            "From seeing a pod for the first time to its container running.",
            ["environment"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "labkit_proxy_requests", "Requests to Services.", ["environment", "result"], registry=self._registry
        )
        self._again = Counter(
            "labkit_proxy_retries",
            "Requests that were sent to another endpoint, because one did not answer.",
            ["environment"],
            registry=self._registry,
        )

    def started(self, seconds: float) -> None:
        """A pod has started."""
        self._start.labels(self._environment).observe(seconds)

    def answered(self, result: str) -> None:
        """A request to a Service was answered (`ok`) or not (`failed`)."""
        self._requests.labels(self._environment, result).inc()

    def retried(self) -> None:
        """A request is sent to another endpoint."""
        self._again.labels(self._environment).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Containers(Collector):
    """Measures at the moment when it is asked."""

    def __init__(self, environment: str, containers: Callable[[], Iterable[Sample]]) -> None:
        self._environment = environment
        self._containers = containers

    def collect(self) -> Iterator[Metric]:
        """Measure every container."""
        cpu = CounterMetricFamily("container_cpu_usage_seconds", "CPU time used.", labels=_LABELS)
        memory = GaugeMetricFamily("container_memory_working_set_bytes", "Memory used (PSS).", labels=_LABELS)
        restarts = CounterMetricFamily("kube_pod_container_status_restarts", "Restarts.", labels=_LABELS)
        ready = GaugeMetricFamily("kube_pod_container_status_ready", "1 if it is ready.", labels=_LABELS)
        resources = {
            kind: GaugeMetricFamily(
                f"kube_pod_container_resource_{kind}", f"What the pod's {kind} say.", labels=(*_LABELS, "resource")
            )
            for kind in ("requests", "limits")
        }
        for sample in self._containers():
            labels = (self._environment, sample.namespace, sample.pod, sample.container)
            restarts.add_metric(labels, sample.restarts)
            ready.add_metric(labels, sample.ready)
            for kind, values in (("requests", sample.requests), ("limits", sample.limits)):
                for resource, value in values.items():
                    resources[kind].add_metric((*labels, resource), quantity(value))
            members = sample.process.members() if sample.process else []
            if members:
                cpu.add_metric(labels, sum(processor_seconds(process) for process in members))
                memory.add_metric(labels, proportional_set_size(process.pid for process in members))
        yield from (cpu, memory, restarts, ready, *resources.values())
