"""The lab in clusters that were there before it: three embedded ones, with simulated pods, stand for somebody's.

What nobody can see here is a component that answers: no process runs in a simulated pod. The tests share the clusters,
and run from top to bottom.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from _labkit import Done, assert_refused, labkit
from _labs import lab_of_its_own

from labkit.clusters import provider
from labkit.config import Existing, Lab, choose, load_lab
from labkit.errors import LabError
from labkit.incluster import rules
from labkit.incluster.mark import MARK, mark
from labkit.install import install_into_clusters
from labkit.kube import Kube
from labkit.paths import LabHome
from labkit.process import free_port_range
from labkit.toolchain import ensure_tools, find_tools
from labkit.wait import wait_for

# Their charts are on the internet, and in no Go module.
NOT_EVERYWHERE = ("gitea", "kube-prometheus-stack")
WITHOUT = NOT_EVERYWHERE
TOOLS = ("helm", "argocd-manifests", "argo-rollouts-manifests", "cert-manager-chart", "kargo-chart")
SERVERS = {"pre": "https://10.0.0.2:6443", "prod": "https://10.0.0.3:6443"}
CONTEXTS = {"dev": "gitops-dev", "pre": "gitops-pre", "prod": "gitops-prod"}
MINE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"of": "somebody"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}}
# What Kubernetes makes of other objects, and takes away with them.
GENERATED = rules()["generated"]["kinds"]
# What it adds by itself: to each namespace, and for Services and resource definitions.
ADDED_TO_NAMESPACES = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
ADDED = {"IPAddress", "APIService"}
RBAC = "rbac.authorization.k8s.io"
LOOKS_AT_ALL = (
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "look-at-all"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
    },
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "guest"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "look-at-all"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "guest"}],
    },
)


@dataclass(frozen=True)
class Clusters:
    """Three clusters that somebody has."""

    owner: Lab

    @property
    def kubeconfig(self) -> Path:
        return self.owner.home.kubeconfig

    def api(self, name: str) -> Kube:
        return Kube(self.kubeconfig, f"gitops-{name}")

    def everything(self, name: str) -> dict[tuple[str, str, str], str]:
        """Each object of a cluster by kind, namespace and name: its uid. But for what comes and goes by itself."""
        api = self.api(name)
        return {
            (kind.kind, item["metadata"].get("namespace") or "", item["metadata"]["name"]): item["metadata"]["uid"]
            for kind in api.kinds("list", "delete")
            if kind.kind not in GENERATED
            for item in api.list(kind.api_version, kind.kind)
        }


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Three clusters, bare but for something of their owner's."""
    # Beforehand: a command that builds them first could take longer than a command may here.
    ensure_tools(TOOLS)
    with lab_of_its_own(tmp_path_factory.mktemp("somebody")) as owner, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_KARGO", "auto")
        done = labkit(owner, "clusters", "create", "--pods", "simulated")
        assert done.code == 0, done
        clusters = Clusters(load_lab(owner.home))
        for name in ("dev", "pre", "prod"):
            clusters.api(name).apply(NAMESPACE, {**MINE, "metadata": {"name": "mine", "namespace": "theirs"}})
        yield clusters


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of the lab that is to be installed there."""
    return LabHome(tmp_path_factory.mktemp("existing") / "installed")


@pytest.fixture
def run(home, theirs):
    """`labkit` for that lab."""

    def call(*words: str, **more: str) -> Done:
        return labkit(theirs.owner, *words, env={"LABKIT_HOME": str(home.root), "LABKIT_KARGO": "auto", **more})

    return call


def _init(kubeconfig, *more, contexts=CONTEXTS):
    words = [
        *(f"--context={name}={context}" for name, context in contexts.items()),
        *(f"--server={name}={server}" for name, server in SERVERS.items()),
        *(f"--without={name}" for name in WITHOUT),
    ]
    return ("init", "--provider", "existing", "--kubeconfig", str(kubeconfig), *words, *more)


def _findings(done: Done) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in json.loads(done.out)}


def _as(theirs, file, user):
    """The owner's kubeconfig, as somebody with other rights: the administrator acts as them."""
    content = yaml.safe_load(theirs.kubeconfig.read_text())
    for item in content["users"]:
        item["user"]["as"] = user
    file.write_text(yaml.safe_dump(content))
    return file


# Refused before anything is changed. Each has a folder of its own.


@pytest.fixture(scope="module")
def before(theirs):
    """What the clusters held before, once their controllers have added all that a new cluster and namespace get."""
    looks = []

    def look():
        looks.append({name: theirs.everything(name) for name in ("dev", "pre", "prod")})
        return looks[-1]

    return wait_for(
        "new clusters to have settled",
        look,
        lambda found: len(looks) > 5 and all(earlier == found for earlier in looks[-6:]),
        describe=lambda found: ", ".join(f"{name}: {len(objects)} objects" for name, objects in found.items()),
        interval=1,
        timeout=120,
    )


@pytest.fixture
def refused(theirs, before, tmp_path):
    """Chooses clusters, and gives the error that ends their installation, as one text."""

    def refuse(kubeconfig=None, *, contexts=CONTEXTS, servers=SERVERS, confirmed=("gitops-prod",), without=WITHOUT):
        lab = choose(
            load_lab(LabHome(tmp_path / "other")),
            provider="existing",
            kargo="auto",
            existing=Existing(str(kubeconfig or theirs.kubeconfig), contexts, servers),
            confirmed=confirmed,
            without=without,
        )
        with pytest.raises(LabError) as caught:
            install_into_clusters(lab)
        return str(caught.value)

    return refuse


def test_a_context_that_is_not_there_is_refused(theirs, tmp_path):
    line = _init(theirs.kubeconfig, contexts={**CONTEXTS, "prod": "gitops-prd"})
    done = labkit(theirs.owner, *line, env={"LABKIT_HOME": str(tmp_path / "other"), "LABKIT_KARGO": "auto"})
    assert_refused(done, 2, "has no context 'gitops-prd'", "gitops-dev, gitops-pre, gitops-prod")
    assert not (tmp_path / "other").exists()


def test_two_contexts_of_one_cluster_are_refused(refused, theirs, tmp_path):
    content = yaml.safe_load(theirs.kubeconfig.read_text())
    (dev,) = (item for item in content["contexts"] if item["name"] == "gitops-dev")
    content["contexts"].append({"name": "also-dev", "context": dev["context"]})
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    assert "gitops-dev and gitops-pre are the same one" in refused(file, contexts={**CONTEXTS, "pre": "also-dev"})


def test_a_cluster_that_does_not_answer_is_named(refused, theirs, tmp_path):
    content = yaml.safe_load(theirs.kubeconfig.read_text())
    (pre,) = (item for item in content["clusters"] if item["name"] == "gitops-pre")
    pre["cluster"]["server"] = f"https://127.0.0.1:{free_port_range(1)}"
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    said = refused(file)
    assert "gitops-pre does not answer" in said
    assert "nothing was changed" in said
    assert "gitops-dev" not in said, "what is well is not complained of"


def test_credentials_that_are_refused_are_named(refused, theirs, tmp_path):
    content = yaml.safe_load(theirs.kubeconfig.read_text())
    for item in content["users"]:
        item["user"] = {"token": "of-nobody"}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    assert "gitops-dev refuses the credentials" in refused(file)


def test_a_context_that_looks_like_production_has_to_be_confirmed_by_its_name(refused):
    said = refused(confirmed=("gitops-pre",))
    assert "context gitops-prod: the name of its context matches *prod*" in said
    assert "--confirm gitops-prod" in said
    assert "nothing was changed" in said


def test_a_cluster_that_holds_much_is_taken_for_production_whatever_it_is_called(refused, theirs):
    api = theirs.api("dev")
    labels = {"app": "shop"}
    pod = {"containers": [{"name": "main", "image": "shop:1"}]}
    shops = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"shop-{number}", "namespace": "theirs"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        for number in range(11)
    ]
    api.apply(*shops)
    try:
        said = refused()
    finally:
        for shop in shops:
            api.delete("apps/v1", "Deployment", shop["metadata"]["name"], "theirs")
    assert "it holds 11 workloads in 1 namespaces" in said
    assert "--confirm gitops-dev" in said


def test_rights_that_are_missing_are_named(refused, theirs, tmp_path):
    apis = [theirs.api(name) for name in ("dev", "pre", "prod")]
    for api in apis:
        api.apply(*LOOKS_AT_ALL)
    try:
        said = refused(_as(theirs, tmp_path / "kubeconfig", "guest"))
    finally:
        for api in apis:
            for item in LOOKS_AT_ALL:
                api.delete(item["apiVersion"], item["kind"], item["metadata"]["name"])
    for name in ("dev", "pre", "prod"):
        assert f"rights in gitops-{name}" in said
    assert "customresourcedefinitions.apiextensions.k8s.io: create, patch, delete" in said
    assert "clusterroles.rbac.authorization.k8s.io: create, patch, delete, escalate, bind" in said
    assert "nothing was changed" in said


def test_who_may_not_even_look_is_told_so(refused, theirs, tmp_path):
    said = refused(_as(theirs, tmp_path / "kubeconfig", "nobody"))
    assert "rights in gitops-dev" in said
    assert "forbidden" in said


def test_a_cluster_that_is_too_small_is_refused(refused, theirs):
    api = theirs.api("dev")
    (node,) = api.list("v1", "Node")
    name = node["metadata"]["name"]
    api.patch("v1", "Node", name, {"spec": {"unschedulable": True}})
    try:
        assert "room in gitops-dev: 0.0 CPU and 0.0 GiB are free" in refused()
    finally:
        api.patch("v1", "Node", name, {"spec": {"unschedulable": None}})


def test_an_address_that_leads_nowhere_from_inside_a_pod_is_refused(refused):
    said = refused(servers={})
    assert "gitops-dev can reach gitops-pre" in said
    assert "--server pre=https://…" in said


def test_a_namespace_of_somebody_elses_is_not_taken_over(refused, theirs):
    theirs.api("pre").apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    try:
        said = refused()
    finally:
        theirs.api("pre").delete("v1", "Namespace", "argocd")
        wait_for("namespace argocd to be gone", lambda: theirs.api("pre").get("v1", "Namespace", "argocd") is None)
    assert "place in gitops-pre: there already, and not the lab's: argocd" in said


def test_what_is_left_out_has_to_be_there(refused):
    said = refused(without=(*WITHOUT, "cert-manager"))
    assert "cert-manager in gitops-dev: left out, and there is no certificates.cert-manager.io" in said


def test_charts_that_cannot_be_had_end_the_installation_before_it_begins(refused):
    if not find_tools(["gitea-chart", "kube-prometheus-stack-chart"]).missing:
        pytest.skip("all charts are here")
    try:
        httpx.head("https://dl.gitea.com", timeout=5)
    except httpx.HTTPError:
        assert "could not be downloaded" in refused(without=())
    else:
        pytest.skip("the charts can be had here")


def test_no_refusal_has_changed_anything(theirs, before):
    wait_for(
        "namespaces that tests have made to be gone",
        lambda: {name: theirs.everything(name) for name in before},
        lambda now: now == before,
        describe=lambda now: ", ".join(str(key) for name in now for key in now[name].keys() ^ before[name].keys()),
        timeout=60,
    )


# Installed, looked at, taken out again


def test_choosing_clusters_changes_nothing_but_the_labs_folder(run, theirs, before, home):
    done = run(*_init(theirs.kubeconfig, "--confirm", "gitops-prod"))
    assert done.code == 0, done
    assert load_lab(home).settings.existing.contexts["prod"] == "gitops-prod"
    assert {name: theirs.everything(name) for name in before} == before


def test_preflight_shows_rights_and_what_would_go_where_and_changes_nothing(run, theirs, before):
    done = run("preflight", "--output", "json")
    assert done.code == 0, done
    findings = _findings(done)
    assert findings["rights in gitops-dev"]["found"] == "all: a cluster administrator"
    assert "confirmed by name" in findings["gitops-prod is nobody's production"]["found"]
    to_dev = findings["to be installed in gitops-dev"]["found"]
    for part in ("argo-cd 3.2.11 in argocd", "kargo 1.11.2 in kargo", "cert-manager 1.21.2 in cert-manager"):
        assert part in to_dev
    assert "kargo 1.11.2 in kargo" in findings["to be installed in gitops-pre"]["found"]
    assert {name: theirs.everything(name) for name in before} == before


def test_it_is_installed_and_says_that_nothing_answers(run):
    done = run("up")
    assert done.code == 0, done
    table = run("status", "--output", "json").json["installed"]
    assert {(row["context"], row["component"]) for row in table} == {
        ("gitops-dev", "argo-cd"),
        ("gitops-dev", "argo-rollouts"),
        ("gitops-dev", "cert-manager"),
        ("gitops-dev", "kargo"),
        ("gitops-pre", "argo-cd"),
        ("gitops-prod", "argo-cd"),
    }
    for row in table:
        ready, wanted = row["workloads"].split("/")
        assert ready == wanted != "0", row
    # Simulated pods are Ready, and that is all: the lab does not take that for a component that works.
    assert {row["answers"] for row in table if row["component"] in ("argo-cd", "kargo")} == {
        "no: its pods are simulated, nothing runs in them"
    }


def test_everything_that_was_installed_carries_the_labs_mark(theirs, home, before):
    lab = load_lab(home)
    for name in before:
        api = theirs.api(name)
        new = theirs.everything(name).keys() - before[name].keys()
        marked = {
            (kind.kind, item["metadata"].get("namespace") or "", item["metadata"]["name"])
            for kind in api.kinds("list", "delete")
            if kind.kind not in GENERATED
            for item in api.list(kind.api_version, kind.kind, selector=f"{MARK}={mark(lab)}")
        }
        by_itself = {key for key in new if (key[0], key[2]) in ADDED_TO_NAMESPACES or key[0] in ADDED}
        assert new - by_itself == marked


def test_what_was_installed_is_what_rights_are_asked_for(theirs, home):
    """Else preflight would say yes, and installing end half-way."""
    asked = {(group, item) for group, items in rules()["rights"]["resources"].items() for item in items}
    installed = {
        (kind.api_version.rpartition("/")[0], kind.resource)
        for name in ("dev", "pre", "prod")
        for kind in theirs.api(name).kinds("list", "delete")
        if kind.kind not in GENERATED
        and theirs.api(name).list(kind.api_version, kind.kind, selector=f"{MARK}={mark(load_lab(home))}")
    }
    assert len(installed) > 15
    assert installed <= asked


def test_kargo_has_a_controller_for_each_environment(theirs):
    api = theirs.api("dev")
    shards = {
        item["metadata"]["name"]: item["data"]
        for item in api.list("v1", "ConfigMap", "kargo")
        if item["metadata"]["name"].startswith("kargo-controller")
    }
    assert {data["SHARD_NAME"] for data in shards.values()} == {"dev", "pre", "prod"}
    assert [name for name, data in shards.items() if data.get("IS_DEFAULT_CONTROLLER") == "true"] == [
        "kargo-controller"
    ]
    assert shards["kargo-controller-pre"]["ARGOCD_KUBECONFIG"] == "/etc/kargo/kubeconfigs/argocd-kubeconfig.yaml"
    assert "ARGOCD_KUBECONFIG" not in shards["kargo-controller"]
    images = {
        item["spec"]["template"]["spec"]["containers"][0]["image"]
        for item in api.list("apps/v1", "Deployment", "kargo")
    }
    assert images == {"ghcr.io/akuity/kargo:v1.11.2"}


@pytest.mark.parametrize("name", ["pre", "prod"])
def test_the_way_into_another_cluster_has_the_least_rights(theirs, tmp_path, name):
    """The kubeconfig Secrets are taken as their controllers have them: what may they do there?"""
    control = theirs.api("dev")
    for namespace, secret, allowed, refused in (
        (
            "kargo",
            f"argocd-{name}",
            {("patch", "argoproj.io", "applications", "argocd"), ("watch", "argoproj.io", "applications", "argocd")},
            {
                ("delete", "argoproj.io", "applications", "argocd"),
                ("get", "argoproj.io", "applications", "demo-app"),
                ("get", "", "secrets", "argocd"),
                ("create", "batch", "jobs", "demo-app"),
            },
        ),
        (
            "argo-rollouts",
            f"jobs-{name}",
            {("create", "batch", "jobs", "demo-app"), ("delete", "batch", "jobs", "demo-app")},
            {
                ("create", "batch", "jobs", "kube-system"),
                ("get", "", "secrets", "demo-app"),
                ("patch", "argoproj.io", "applications", "argocd"),
            },
        ),
    ):
        text = base64.b64decode(control.need("v1", "Secret", secret, namespace)["data"]["kubeconfig.yaml"]).decode()
        content = yaml.safe_load(text)
        assert content["clusters"][0]["cluster"]["server"] == SERVERS[name]
        # From here the cluster has another address.
        content["clusters"][0]["cluster"]["server"] = _server(theirs, name)
        file = tmp_path / f"{secret}.yaml"
        file.write_text(yaml.safe_dump(content))
        holder = Kube(file, f"gitops-{name}")
        assert {asked for asked in allowed | refused if holder.allowed(*asked)} == allowed


def _server(theirs, name):
    return provider(theirs.owner).inner_server(theirs.owner.environment(name))


def test_installing_again_changes_nothing(run, theirs):
    def versions(name):
        api = theirs.api(name)
        return {
            (kind, item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"]["generation"]
            for kind in ("Deployment", "StatefulSet")
            for item in api.list("apps/v1", kind)
        }

    before = {name: (theirs.everything(name), versions(name)) for name in ("dev", "pre", "prod")}
    done = run("setup")
    assert done.code == 0, done
    assert {name: (theirs.everything(name), versions(name)) for name in before} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deploy",), "Gitea on this machine"),
        (("urls",), "page on this machine"),
        (("clusters", "stop"), "were there before the lab"),
        (("clusters", "delete"), "were there before the lab"),
    ],
    ids=["deploy", "urls", "clusters stop", "clusters delete"],
)
def test_what_does_not_go_there_is_said_so(run, words, said):
    assert_refused(run(*words), 1, said, "labkit uninstall")


def test_down_leaves_it_installed(run, theirs, home):
    assert run("down").code == 0
    assert home.is_lab
    assert theirs.api("dev").get("v1", "Namespace", "kargo") is not None


def test_a_lab_whose_cluster_does_not_answer_is_not_forgotten(run, theirs, home):
    """Without its folder nobody would know what is the lab's in that cluster."""
    text = theirs.kubeconfig.read_text()
    theirs.kubeconfig.write_text(text.replace(_server(theirs, "pre"), "https://127.0.0.1:1"))
    try:
        assert_refused(run("down", "--purge"), 1, "gitops-pre does not answer")
    finally:
        theirs.kubeconfig.write_text(text)
    assert home.is_lab
    assert theirs.api("dev").get("v1", "Namespace", "kargo") is not None


def test_uninstalling_leaves_what_is_somebody_elses(run, theirs, before):
    """A ConfigMap in a namespace that the lab made, and an Application in one that it did not."""
    dev, pre = theirs.api("dev"), theirs.api("pre")
    dev.apply({**MINE, "metadata": {"name": "mine", "namespace": "argocd"}})
    pre.apply(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "mine", "namespace": "theirs"},
            "spec": {"sourceRepos": ["*"]},
        }
    )
    done = run("uninstall", "--output", "json")
    assert done.code == 0, done
    assert {(row["context"], row["kind"], row["name"]) for row in json.loads(done.out)} == {
        ("gitops-dev", "Namespace", "argocd"),
        ("gitops-pre", "CustomResourceDefinition", "appprojects.argoproj.io"),
    }
    assert dev.need("v1", "ConfigMap", "mine", "argocd")["data"] == MINE["data"]
    assert pre.need("argoproj.io/v1alpha1", "AppProject", "mine", "theirs")
    assert {item["metadata"]["name"] for item in dev.list("apps/v1", "Deployment", "argocd")} == set()
    for name in ("dev", "pre", "prod"):
        assert before[name].items() <= theirs.everything(name).items(), "what was there is there, and is the same"
    # Nobody's any more: their owner may do away with them.
    dev.delete("v1", "Namespace", "argocd")
    pre.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "appprojects.argoproj.io")


def test_nothing_is_left(run, theirs, before, home):
    assert run("down", "--purge").code == 0
    assert not home.root.exists()
    for name in ("dev", "pre", "prod"):
        left = theirs.everything(name).keys() - before[name].keys()
        assert {key for key in left if key[1] != "argocd" and key[2] != "argocd"} == set()
