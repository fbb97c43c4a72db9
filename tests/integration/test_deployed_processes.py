"""The main job where pods are processes: what Argo CD and Kargo bring to the clusters is what answers there."""

import json

import httpx
import pytest
from _labkit import deployed, labkit
from _labs import lab_of_its_own

from labkit.config import NAMESPACE
from labkit.down import lab_processes
from labkit.kubectl import kubectl
from labkit.services.pods import pod_processes, pods_proxy
from labkit.status import running_versions


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A lab with the seed's versions deployed, as processes."""
    with lab_of_its_own(tmp_path_factory.mktemp("processes")) as lab:
        yield deployed(lab, "--pods", "process")


@pytest.mark.parametrize("name", ["dev", "pre", "prod"])
def test_what_answers_is_what_was_promoted(running, name):
    environment = running.environment(name)
    with httpx.Client(proxy=pods_proxy(running, environment, NAMESPACE), timeout=30, trust_env=False) as client:
        answers = {tier: client.get(f"http://{tier}:8080/version").json()["version"] for tier in running.tiers}
    assert answers == running_versions(running, environment)


@pytest.mark.parametrize("name", ["dev", "pre", "prod"])
def test_logs_are_those_of_the_version_at_the_environments_level(running, name):
    shown = kubectl(running, f"kubectl --context gitops-{name} -n demo-app logs deploy/backend").output
    lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    started = [line["version"] for line in lines if line["message"] == "started"]
    assert started == [running_versions(running, running.environment(name))["backend"]]
    assert ("debug" in {line["level"] for line in lines}) == (name == "dev"), shown[:500]


def test_each_pod_is_a_process_and_down_ends_them_all(running):
    pods = kubectl(running, "kubectl --context gitops-prod -n demo-app get pods --output name").output.split()
    marked = [
        process for process in pod_processes(running) if f"{running.home.pods}/prod/" in " ".join(process.cmdline())
    ]
    programs = [process for process in marked if process.name() not in ("sh", "dash", "bash")]
    assert len(programs) == len(pods) == 7
    assert labkit(running, "down").code == 0
    assert lab_processes(running) == []
