"""The pod runners: one for each cluster, and an end for the processes that they leave running when they are stopped."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import yaml

from labkit.clusters import provider
from labkit.config import NAMESPACE, BackOff, Environment, Lab
from labkit.process import LOOPBACK, POD_MARK, PYTHON, end_processes, running_processes
from labkit.services.supervisor import Service, Supervisor

FRONT_TIER = "frontend"
_DATA_TIER = "database"
SERVICE_PORT = 8080
_FIRST_NETWORK = 200


def pod_runner(environment: Environment) -> str:
    """The service's name."""
    return f"podrunner-{environment.name}"


def runs_pods(lab: Lab) -> bool:
    """Whether pods that ask for it run as processes."""
    return lab.settings.pods == "process"


def what_pods_are(lab: Lab) -> str:
    """What a pod of this lab is, for every page that shows one."""
    if runs_pods(lab):
        return "pods of the demo app and of its tests are processes of this machine; any other is simulated by KWOK"
    return "all pods are simulated by KWOK: they are scheduled and become Ready, but run no process"


def ensure_pod_runners(lab: Lab) -> None:
    """Run pods that ask for it as processes, in each cluster; nothing where all pods are simulated."""
    if not runs_pods(lab):
        return
    Supervisor(lab).ensure_services(_service(lab, environment) for environment in lab.environments)


def stop_pod_runners(lab: Lab) -> None:
    """Stop the runners, and all processes of their pods: as when a node is switched off."""
    supervisor = Supervisor(lab)
    for environment in lab.environments:
        supervisor.stop_service(pod_runner(environment))
    end_pods(lab)


def end_pods(lab: Lab) -> None:
    """End all processes of pods; without a runner, nothing starts them again."""
    end_processes(pod_processes(lab))


def pod_processes(lab: Lab) -> list[psutil.Process]:
    """All processes of the lab's pods, known by the mark in their environment."""
    found = []
    for process in running_processes():
        try:
            if process.environ().get(POD_MARK) == str(lab.home.root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def pods_proxy(lab: Lab, environment: Environment, namespace: str) -> str:
    """The proxy through which an environment's Services are reached, as `http://SERVICE:PORT`, from a namespace."""
    return f"http://{namespace}:labkit@{LOOPBACK}:{lab.port('pods', environment)}"


def _service(lab: Lab, environment: Environment) -> Service:
    name, port = pod_runner(environment), lab.port("pods", environment)
    destinations = [item for item in lab.destinations if item.environment == environment]
    gateways = [
        *(_gateway(lab.app_port(item), item.namespace, FRONT_TIER) for item in destinations),
        _gateway(lab.port("database", environment), NAMESPACE, _DATA_TIER),
    ]
    folder = lab.home.services / name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "environment": environment.name,
                "kubeconfig": str(provider(lab).own_kubeconfig(environment)),
                "port": port,
                "home": str(lab.home.root),
                "folder": str(lab.home.pods / environment.name),
                "volumes": str(provider(lab).volumes(environment)),
                "images": str(lab.home.pods / "images"),
                "network": f"10.{_FIRST_NETWORK + environment.index}",
                "restartBackOff": _pauses(lab.pods.restarts),
                "pullBackOff": _pauses(lab.pods.pulls),
                "logBytes": lab.pods.log_bytes,
                "gateways": gateways,
            },
            sort_keys=False,
        )
    )
    return Service(
        name=name,
        about=f"runs pods of {environment.context} as processes",
        command=(PYTHON, "-m", "labkit.podrunner", "--config", str(config)),
        health=f"http://{LOOPBACK}:{port}/healthz",
        ports={
            "pods": port,
            "database": lab.port("database", environment),
            **{f"app of {item.stage}": lab.app_port(item) for item in destinations},
        },
    )


def _gateway(port: int, namespace: str, service: str) -> Mapping[str, str | int]:
    """How a Service is reached from outside its cluster."""
    return {"port": port, "namespace": namespace, "service": service, "servicePort": SERVICE_PORT}


def _pauses(back_off: BackOff) -> Mapping[str, float]:
    return {"firstSeconds": back_off.first_seconds, "longestSeconds": back_off.longest_seconds}
