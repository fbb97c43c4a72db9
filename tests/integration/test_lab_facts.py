"""What the main job leaves behind: sizes, sockets, files and what the read commands say of it."""

import json
import re
import stat
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from _labkit import get, labkit, wait_settled

from labkit.config import NAMESPACE
from labkit.down import lab_processes
from labkit.kubectl import kubectl
from labkit.process import MARK, PYTHON, run
from labkit.quantities import quantity
from labkit.services.pods import pod_processes, pods_proxy
from labkit.services.prometheus import prometheus_url
from labkit.status import running_versions
from labkit.wait import wait_for

GIB = 2**30

# The seed's clusters: nodes, CPUs, GiB of memory, GiB of disk.
SIZES = {"dev": (1, 4, 8, 50), "pre": (1, 3, 6, 30), "prod": (3, 6, 12, 100)}

# Programs that offer no address to listen on: https://argo-cd.readthedocs.io, https://argo-rollouts.readthedocs.io,
# and the webhooks server of the genuine Kargo.
ON_EVERY_ADDRESS = re.compile(r"argocd-application-controller-(dev|pre|prod)|rollouts-(dev|pre|prod)|kargo-webhooks")


@pytest.mark.parametrize("name", SIZES)
def test_nodes_have_the_seeds_capacity(lab, name):
    nodes = get(lab, lab.environment(name), "nodes")["items"]
    sizes = [node["status"]["capacity"] for node in nodes]

    def total(resource):
        return sum(quantity(size[resource]) for size in sizes)

    found = (len(nodes), total("cpu"), total("memory") / GIB, round(total("ephemeral-storage") / GIB))
    assert found == SIZES[name], f"nodes, CPUs, GiB of memory and of disk of gitops-{name}"


def test_environments_share_no_node_and_no_server(lab):
    contexts = yaml.safe_load(lab.home.kubeconfig.read_text())["clusters"]
    servers = [entry["cluster"]["server"] for entry in contexts]
    assert len(set(servers)) == 3, servers
    uids = [get(lab, environment, "namespace kube-system")["metadata"]["uid"] for environment in lab.environments]
    assert len(set(uids)) == 3, "two contexts lead to one cluster"


def _listening(lab):
    """(service or component, address, port) of every listening socket of the lab's processes but for its pods'."""
    pods = {process.pid for process in pod_processes(lab)}
    for process in lab_processes(lab):
        if process.pid in pods:
            continue
        # Some live for a moment only, such as a git that Argo CD asks.
        with suppress(psutil.NoSuchProcess):
            name = process.environ().get(MARK) or process.name()
            for item in _listens(process):
                yield name, item.ip, item.port


def _listens(process):
    return [item.laddr for item in process.net_connections("inet") if item.status == psutil.CONN_LISTEN]


def test_every_socket_is_on_this_machine_only_but_for_the_named_exceptions(lab):
    sockets = list(_listening(lab))
    names = {name for name, _, _ in sockets}
    assert {"etcd", "kube-apiserver", "gitea", "valkey", "ci", "supervisord", "cluster-watchdog"} <= names, names
    open_to_all = {(name, port) for name, address, port in sockets if address != "127.0.0.1"}
    unexpected = sorted(f"{name} on port {port}" for name, port in open_to_all if not ON_EVERY_ADDRESS.fullmatch(name))
    assert not unexpected, f"listen on more than 127.0.0.1: {unexpected}"


def test_every_pod_listens_on_this_machine_only(lab):
    found = set()
    for process in pod_processes(lab):
        with suppress(psutil.NoSuchProcess):
            found |= {item.ip for item in _listens(process)}
    assert found == {"127.0.0.1"}


@pytest.mark.parametrize("name", SIZES)
def test_what_answers_is_what_was_promoted(lab, name):
    environment = lab.environment(name)
    with httpx.Client(proxy=pods_proxy(lab, environment, NAMESPACE), timeout=30, trust_env=False) as client:
        answers = {tier: client.get(f"http://{tier}:8080/version").json()["version"] for tier in lab.tiers}
    assert answers == running_versions(lab, environment)


@pytest.mark.parametrize("name", SIZES)
def test_the_gateway_leads_to_the_page_as_people_see_it(lab, name):
    environment = lab.environment(name)
    page = httpx.get(lab.app_url(environment.name), trust_env=False)
    assert page.status_code == 200
    assert f'<span class="environment">{name}</span>' in page.text


@pytest.mark.parametrize("name", SIZES)
def test_logs_are_those_of_the_version_at_the_environments_level(lab, name):
    wait_settled(lab, lab.environment(name))
    shown = kubectl(lab, f"kubectl --context gitops-{name} -n demo-app logs deploy/backend").output
    lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    started = [line["version"] for line in lines if line["message"] == "started"]
    assert started == [running_versions(lab, lab.environment(name))["backend"]]
    assert ("debug" in {line["level"] for line in lines}) == (name == "dev"), shown[:500]


@pytest.mark.parametrize("name", SIZES)
def test_there_is_always_traffic_and_prometheus_has_measured_it(lab, name):
    query = f'sum(rate(traffic_requests_total{{environment="{name}",outcome="ok"}}[1m])) > 0'
    seen = f'count(http_request_duration_seconds_count{{environment="{name}"}}) by (tier)'

    def ask(text):
        answer = httpx.get(f"{prometheus_url(lab)}/api/v1/query", params={"query": text}, trust_env=False).json()
        return answer["data"]["result"]

    wait_for(f"traffic in {name}", lambda: ask(query), timeout=90)
    assert {item["metric"]["tier"] for item in ask(seen)} == set(lab.tiers)


def test_every_target_of_prometheus_answers(lab):
    def targets():
        return httpx.get(f"{prometheus_url(lab)}/api/v1/targets", trust_env=False).json()["data"]["activeTargets"]

    found = wait_for(
        "all targets to be up",
        targets,
        lambda found: {target["health"] for target in found} == {"up"},
        describe=lambda found: "; ".join(
            f"{target['labels']['job']}: {target['lastError']}" for target in found if target["health"] != "up"
        ),
        timeout=60,
    )
    jobs = {target["labels"]["job"] for target in found}
    apart = {f"{kind}-{name}" for kind in ("demo-app", "podrunner") for name in SIZES}
    wide = {f"kwok-{name}" for name in ("dev", "prod")} | {f"apiserver-{name}" for name in SIZES}
    assert jobs == apart | wide | {"prometheus", "gitea", "services"}
    of_services = {target["labels"]["service"] for target in found if target["labels"]["job"] == "services"}
    assert {"traffic", "exporter", "argocd-server-dev", "argocd-server-prod"} <= of_services
    assert "argocd-server-pre" not in of_services, "PRE has a subset"
    nameless = [target["labels"] for target in found if "environment" not in target["labels"]]
    assert {labels["service"] for labels in nameless} == {"traffic", "exporter"}, "their series say it themselves"


def test_every_socket_is_one_of_the_labs_ports(lab):
    named = {port: name for name, port in lab.ports.items()}
    others = sorted((name, port) for name, _, port in _listening(lab) if port not in named)
    assert not others, f"ports that data/lab.yaml does not name: {others}"


def test_the_kubeconfig_has_the_contracts_contexts_and_no_other(lab):
    config = yaml.safe_load(lab.home.kubeconfig.read_text())
    assert [entry["name"] for entry in config["contexts"]] == ["gitops-dev", "gitops-pre", "gitops-prod"]
    assert [entry["name"] for entry in config["clusters"]] == ["gitops-dev", "gitops-pre", "gitops-prod"]
    for entry in config["clusters"]:
        assert entry["cluster"]["server"].startswith("https://127.0.0.1:"), entry
        assert "insecure-skip-tls-verify" not in entry["cluster"], entry["name"]


def test_the_users_own_kubeconfig_does_not_know_the_lab(lab):
    own = Path.home() / ".kube" / "config"
    text = own.read_text() if own.exists() else ""
    for environment in lab.environments:
        assert f"127.0.0.1:{lab.port('apiserver', environment)}" not in text, f"{own} leads to {environment.context}"


def _secrets(lab):
    return [file for file in lab.home.secrets.iterdir() if file.name != ".lock"]


def _mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_secrets_are_for_their_owner_only(lab):
    assert _mode(lab.home.root) == "0o700"
    assert _mode(lab.home.secrets) == "0o700"
    files = _secrets(lab)
    assert {"developer", "release-manager", "kargo-bot", "supervisor"} <= {file.name for file in files}
    readable = {file.name: _mode(file) for file in [*files, lab.home.kubeconfig] if _mode(file) != "0o600"}
    assert not readable, f"modes that are not 600: {readable}"


def test_no_secret_stands_on_a_command_line_or_in_a_log(lab):
    secrets = {file.name: file.read_text().strip() for file in _secrets(lab)}
    places = {}
    for process in lab_processes(lab):
        with suppress(psutil.NoSuchProcess):
            places[f"command line of {process.name()}"] = " ".join(process.cmdline())
    places |= {f"log {file.name}": file.read_text(errors="replace") for file in lab.home.logs.iterdir()}
    told = [f"{name} in {place}" for place, text in places.items() for name, value in secrets.items() if value in text]
    assert not told, told


# The read commands, for programs


def test_status_as_json_says_that_all_is_well(lab):
    status = labkit(lab, "status", "--output", "json").json
    assert {row["context"]: row["state"] for row in status["clusters"]} == {
        "gitops-dev": "running",
        "gitops-pre": "running",
        "gitops-prod": "running",
    }
    assert [row["service"] for row in status["services"] if not row["healthy"]] == []
    assert {(row["context"], row["sync"], row["health"]) for row in status["applications"]} == {
        (environment.context, "Synced", "Healthy") for environment in lab.environments
    }
    assert {row["stage"]: (row["health"], row["verified"]) for row in status["stages"] if row["freight"]} == (
        dict.fromkeys(SIZES, ("Healthy", "True"))
    )
    assert status["engine"] in ("kargo", "kargolite")
    assert status["home"] == str(lab.home.root)


def test_stages_as_json_agree_with_the_clusters(lab):
    rows = labkit(lab, "get", "stages", "--all-namespaces", "--output", "json").json
    assert [(row["project"], row["stage"]) for row in rows] == [
        ("demo-app", "dev"),
        ("demo-app", "pre"),
        ("demo-app", "prod"),
        ("demo-app", "hotfix"),
        ("demo-app-preview", "preview"),
    ]
    for row in rows:
        place = lab.destination(row["stage"])
        deployments = get(lab, place.environment, f"deployments -n {place.namespace}")["items"]
        images = [item["spec"]["template"]["spec"]["containers"][0]["image"] for item in deployments]
        running = dict(image.rsplit("/", 1)[1].rsplit(":", 1) for image in images)
        assert row["versions"] == running, f"Stage {row['stage']} and the Deployments of its cluster"


def test_freight_as_json_says_how_far_each_release_has_come(lab):
    rows = labkit(lab, "get", "freight", "--output", "json").json
    verified = {row["versions"]["frontend"]: row["verified_in"] for row in rows}
    assert verified == {"0.9.0": ["dev", "pre", "prod"], "0.9.5": ["dev", "pre"], "1.0.0": ["dev"]}


def test_promotions_as_json_are_those_that_kubectl_shows(lab):
    shown = get(lab, lab.control, "promotions -n demo-app")["items"]
    rows = labkit(lab, "get", "promotions", "--output", "json").json
    assert {row["promotion"] for row in rows} == {item["metadata"]["name"] for item in shown}
    assert {row["phase"] for row in rows} == {"Succeeded"}
    of_prod = labkit(lab, "get", "promotions", "--stage", "prod", "--output", "json").json
    assert [row["promotion"] for row in of_prod] == [row["promotion"] for row in rows if row["stage"] == "prod"]


def test_urls_as_json_answer_and_name_a_password_that_works(lab):
    tools = {row["name"]: row for row in labkit(lab, "tools", "--output", "json").json}
    for row in labkit(lab, "urls", "--output", "json").json:
        url = row["url"]
        name = row["what"].lower()
        if name in ("prometheus", "alertmanager") and "from its module" in tools[name]["notes"]:
            url += "/-/ready"  # built from its module it has no pages
        assert httpx.get(url, trust_env=False, follow_redirects=True).status_code == 200, row
        assert bool(row["account"]) == bool(row["password_file"]), row
        assert not row["account"] or Path(row["password_file"]).read_text(), row


def test_tools_as_json_name_programs_that_exist(lab):
    rows = {row["name"]: row for row in labkit(lab, "tools", "--output", "json").json}
    assert {"kubectl", "kwokctl", "argocd", "gitea", "kustomize", "git"} <= set(rows)
    missing = [name for name, row in rows.items() if row["path"] and not Path(row["path"]).exists()]
    assert not missing, f"paths that do not exist: {missing}"


def test_preflight_as_json_passes_on_the_running_lab(lab):
    rows = labkit(lab, "preflight", "--output", "json").json
    assert [row for row in rows if row["result"] == "failed"] == []
    (ports,) = (row for row in rows if row["check"].startswith("ports"))
    assert ports["found"] == "in use by this lab"


def test_clusters_status_as_json(lab):
    rows = labkit(lab, "clusters", "status", "--output", "json").json
    found = {row["environment"]: (row["nodes"], row["cpu"], row["memory_gib"], row["disk_gib"]) for row in rows}
    assert found == {name: (f"{size[0]}/{size[0]}", *map(float, size[1:])) for name, size in SIZES.items()}


def test_the_shells_variables_lead_kubectl_to_the_lab(lab):
    shell = 'eval "$(labkit env)"; kubectl config get-contexts --output name; command -v kubectl'
    bin_folder = Path(PYTHON).parent
    said = run(
        ["bash", "-c", shell], env={"LABKIT_HOME": str(lab.home.root), "PATH": f"{bin_folder}:/usr/bin:/bin"}
    ).split()
    assert said == ["gitops-dev", "gitops-pre", "gitops-prod", str(lab.home.bin / "kubectl")]
    as_json = labkit(lab, "env", "--output", "json").json
    assert as_json["KUBECONFIG"] == str(lab.home.kubeconfig)


def test_logs_give_the_last_lines(lab):
    lines = labkit(lab, "logs", "supervisord", "--lines", "3").out.splitlines()
    assert lines == (lab.home.logs / "supervisord.log").read_text().splitlines()[-3:]
    as_json = json.loads(labkit(lab, "logs", "supervisord", "--lines", "3", "--output", "json").out)
    assert as_json == lines
