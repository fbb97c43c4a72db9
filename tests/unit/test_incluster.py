"""What is installed into clusters that are not embedded: which, where, whose, and in which order."""

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from labkit.config import Existing, load_lab
from labkit.errors import UsageError
from labkit.incluster import installations, rules
from labkit.incluster.examine import _telling_names
from labkit.incluster.install import _phase
from labkit.incluster.mark import MARK, applied, is_marked, marked
from labkit.toolchain import load_catalogue


@pytest.fixture
def lab(tmp_path):
    lab = load_lab()
    existing = Existing("config", {"dev": "one", "pre": "two", "prod": "three"})
    settings = replace(lab.settings, provider="existing", kargo="auto", existing=existing)
    return replace(lab, settings=settings, home=replace(lab.home, root=tmp_path / "lab"))


def test_components_go_where_the_seed_has_them(lab):
    where = {}
    for item in installations(lab):
        where.setdefault(item.component, set()).add(item.environment.name)
    assert where["argo-cd"] == {"dev", "pre", "prod"}
    assert where["kube-prometheus-stack"] == {"dev", "pre", "prod"}
    assert where["cert-manager"] == where["gitea"] == {"dev"}
    kargo = [item for item in installations(lab) if item.component == "kargo" and item.kind == "chart"]
    assert {(item.release, item.environment.name) for item in kargo} == {
        ("kargo", "dev"),
        ("kargo-pre", "dev"),
        ("kargo-prod", "dev"),
        ("kargo-access", "pre"),
        ("kargo-access", "prod"),
    }


def test_every_version_is_the_catalogues(lab):
    sources = load_catalogue().sources
    for item in installations(lab):
        if item.source:
            assert item.version == sources[item.source].version
            assert sources[item.source].optional, "other labs do not need it"


def test_what_is_left_out_is_not_installed(lab):
    lab = replace(lab, settings=replace(lab.settings, without=("gitea", "cert-manager")))
    assert {item.component for item in installations(lab)} == {
        "argo-cd",
        "argo-rollouts",
        "kargo",
        "kube-prometheus-stack",
    }


@pytest.mark.parametrize("name", ["kargo", "nginx"])
def test_what_cannot_be_left_out_is_refused(lab, name):
    lab = replace(lab, settings=replace(lab.settings, without=(name,)))
    with pytest.raises(UsageError, match=f"{name} cannot be left out"):
        installations(lab)


def test_every_component_can_be_left_out_or_is_required(lab):
    assert {item.component for item in installations(lab)} == {*rules()["components"], *rules()["required"]}


@pytest.mark.parametrize(
    ("context", "server", "telling"),
    [
        ("kind-one", "https://127.0.0.1:6443", False),
        ("gitops-pre", "https://10.0.0.1", False),
        ("shop-PRODUCTION", "https://10.0.0.1", True),
        ("eks-prd-1", "https://10.0.0.1", True),
        ("live", "https://10.0.0.1", True),
        ("cluster-7", "https://api.prod.example.org:6443", True),
    ],
)
def test_names_that_look_like_production(context, server, telling):
    assert bool(_telling_names(context, server)) is telling


CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"c": "d"}}


def test_a_mark_is_one_labs(lab, tmp_path):
    mine = marked(lab, "kargo", CONFIG_MAP)
    other = replace(lab, home=replace(lab.home, root=tmp_path / "other"))
    assert is_marked(lab, mine)
    assert not is_marked(other, mine)
    assert not is_marked(lab, CONFIG_MAP)
    assert marked(lab, "kargo", CONFIG_MAP) == mine, "it stays the same"
    assert MARK not in CONFIG_MAP["metadata"].get("labels", {}), "the manifest itself is left as it is"


def test_what_was_applied_is_known_again_until_it_changes(lab):
    first = marked(lab, "kargo", CONFIG_MAP)
    assert applied(first) == applied(marked(lab, "kargo", CONFIG_MAP)) != ""
    assert applied(marked(lab, "kargo", {**CONFIG_MAP, "data": {"c": "e"}})) != applied(first)
    assert applied(None) == applied(CONFIG_MAP) == ""


def test_what_others_need_is_applied_first_and_what_judges_them_last():
    kinds = [
        ("v1", "Namespace"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apps/v1", "Deployment"),
        ("cert-manager.io/v1", "Certificate"),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ]
    assert [_phase({"apiVersion": version, "kind": kind}) for version, kind in kinds] == [0, 1, 2, 3, 4]
    assert _phase({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}) == 2


def test_namespaces_that_the_lab_fills_are_nobodys_system(lab):
    """Else what is in them would not be looked at when it is asked whose a cluster is."""
    for item in installations(lab):
        assert not any(fnmatchcase(item.namespace, pattern) for pattern in rules()["systemNamespaces"])
