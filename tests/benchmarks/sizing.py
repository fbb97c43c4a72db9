"""How cost grows with the number of applications: each takes one release through three Stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from labkit.clusters import kube
from labkit.config import ARGOCD_NAMESPACE, BOT, ORGANISATION, Environment, Lab
from labkit.delivery.git import working_copy
from labkit.delivery.gitea import ADMIN, gitea_as, gitea_token
from labkit.down import lab_processes
from labkit.process import processor_seconds, proportional_set_size
from labkit.services.argocd import APPLICATION_API, application_state
from labkit.services.kargo import KARGO_API, ensure_bare_project
from labkit.templates import manifests, render
from labkit.wait import wait_for

REPO = "sizing"
GIB = 2**30
PATIENCE = 1200


def sizing_figures(lab: Lab, sizes: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Add applications to a lab, and promote all of them at once, Stage after Stage, after each addition.

    Args:
        lab: A lab that runs, its pods simulated, with nothing under way.
        sizes: How many applications there are to be, ascending.
    """
    _ensure_source(lab)
    names: list[str] = []
    for size in sizes:
        for number in range(len(names), size):
            names.append(f"sized-{number + 1:03}")
            _ensure_application(lab, names[-1])
        freight = _freight(lab, names)
        requests, processor, began = _requests(lab), _processor_seconds(lab), time.monotonic()
        for environment in lab.environments:
            asked = time.monotonic()
            _promote(lab, environment, freight)
            seconds = time.monotonic() - asked
            yield f"{size} applications, all to {environment.name}, s", f"{seconds:.0f} ({seconds / size:.2f} each)"
        seconds, used = time.monotonic() - began, _processor_seconds(lab) - processor
        yield f"{size} applications, processor time meanwhile, s", f"{used:.0f} ({used / seconds:.1f} cores)"
        count, promotions = _requests(lab) - requests, size * len(lab.environments)
        yield (
            f"{size} applications, API requests meanwhile",
            f"{count:.0f} ({count / promotions:.0f} for each Promotion)",
        )
        memory = proportional_set_size(process.pid for process in lab_processes(lab))
        yield f"{size} applications, memory of all processes (PSS), GiB", f"{memory / GIB:.2f}"


def _ensure_source(lab: Lab) -> None:
    """A repo of its own, from which every application is rendered."""
    gitea_as(lab, ADMIN).ensure_repo(ORGANISATION, REPO, "What the sizing benchmark's applications are rendered from")
    copy = working_copy(lab, REPO, BOT)
    copy.write({"kustomization.yaml": b"resources: [app.yaml]\n", "app.yaml": render("sizing/app.yaml").encode()})
    copy.commit_and_push("What every application is made of")


def _ensure_application(lab: Lab, name: str) -> None:
    for environment in lab.environments:
        kube(lab, environment).apply(
            *manifests(
                "sizing/cluster.yaml",
                application=name,
                environment=environment.name,
                control=environment == lab.control,
                source=lab.repo_url(REPO),
                argocd_namespace=ARGOCD_NAMESPACE,
            )
        )
    ensure_bare_project(lab, name)
    kube(lab, lab.control).apply(
        *manifests(
            "sizing/control.yaml",
            application=name,
            environments=[{"name": item.name, "upstream": item.upstream} for item in lab.environments],
            registry=lab.registry,
            organisation=ORGANISATION,
            repo=REPO,
            gitea_url=lab.gitea_url,
            bot=BOT,
            bot_token=gitea_token(lab, BOT),
        )
    )


def _freight(lab: Lab, names: list[str]) -> dict[str, str]:
    """The name of each application's Freight."""
    api = kube(lab, lab.control)

    def found() -> dict[str, str]:
        every = (item["metadata"] for item in api.list(KARGO_API, "Freight"))
        return {meta["namespace"]: meta["name"] for meta in every if meta["namespace"] in names}

    return wait_for(
        f"Freight of {len(names)} applications",
        found,
        lambda known: len(known) == len(names),
        describe=lambda known: f"{len(known)} have some",
        timeout=PATIENCE,
    )


def _promote(lab: Lab, environment: Environment, freight: dict[str, str]) -> None:
    """Promote every Freight to a Stage, until it is verified there and its Application is Synced and Healthy."""
    api = kube(lab, lab.control)
    asked = {
        name: api.create(
            {
                "apiVersion": KARGO_API,
                "kind": "Promotion",
                "metadata": {"generateName": f"{environment.name}-", "namespace": name},
                "spec": {"stage": environment.name, "freight": what},
            }
        )["metadata"]["name"]
        for name, what in freight.items()
    }

    def done() -> set[str]:
        promotions = api.list(KARGO_API, "Promotion")
        succeeded = {item["metadata"]["namespace"] for item in promotions if _succeeded(item, asked)}
        every = api.list(KARGO_API, "Freight")
        verified = {item["metadata"]["namespace"] for item in every if _verified(item, environment)}
        applications = kube(lab, environment).list(APPLICATION_API, "Application", ARGOCD_NAMESPACE)
        well = {item["metadata"]["name"] for item in applications if application_state(item) == ("Synced", "Healthy")}
        return succeeded & verified & well & set(freight)

    wait_for(
        f"{len(freight)} applications in {environment.name}",
        done,
        lambda now: len(now) == len(freight),
        describe=lambda now: f"{len(now)} are",
        interval=1,
        timeout=PATIENCE,
    )


def _succeeded(promotion: dict[str, Any], asked: dict[str, str]) -> bool:
    meta, phase = promotion["metadata"], (promotion.get("status") or {}).get("phase")
    if meta["name"] == asked.get(meta["namespace"]):
        assert phase not in ("Errored", "Failed", "Aborted"), promotion["status"]
        return bool(phase == "Succeeded")
    return False


def _verified(freight: dict[str, Any], environment: Environment) -> bool:
    return environment.name in ((freight.get("status") or {}).get("verifiedIn") or {})


def _requests(lab: Lab) -> float:
    """How many requests the three API servers have answered, the watches' ends among them."""
    pages = (kube(lab, environment).raw("/metrics") for environment in lab.environments)
    lines = (line for page in pages for line in page.splitlines())
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("apiserver_request_total{"))


def _processor_seconds(lab: Lab) -> float:
    """Processor time of every process that the lab has now, and of their children that have ended."""
    return sum(processor_seconds(process) for process in lab_processes(lab))
