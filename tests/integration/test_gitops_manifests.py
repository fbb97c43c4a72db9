"""The gitops repo's overlays, rendered as a promotion renders them."""

import pytest
import yaml

from labkit.config import load_lab
from labkit.delivery.gitops import gitops_files
from labkit.paths import LabHome
from labkit.process import run
from labkit.quantities import quantity
from labkit.toolchain import ensure_tools

REPLICAS = {"dev": 1, "pre": 2, "prod": 3}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return load_lab(LabHome(tmp_path_factory.mktemp("lab")))


@pytest.fixture(scope="module")
def manifests(lab, tmp_path_factory):
    """The objects of each environment, with the versions of the first release."""
    folder = tmp_path_factory.mktemp("gitops")
    for name, content in gitops_files(lab).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    kustomize = ensure_tools(["kustomize"]).path("kustomize")
    found = {}
    for environment in lab.environments:
        overlay = folder / "overlays" / environment.name
        images = [f"{lab.image(tier)}:{version}" for tier, version in lab.releases[0].versions.items()]
        run([kustomize, "edit", "set", "image", *images], cwd=overlay)
        objects = yaml.safe_load_all(run([kustomize, "build", overlay]))
        found[environment.name] = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    return found


@pytest.mark.parametrize("environment", REPLICAS)
def test_tiers_replicas_and_images(lab, manifests, environment):
    for tier in lab.tiers:
        assert ("Service", tier) in manifests[environment]
        deployment = manifests[environment]["Deployment", tier]
        assert deployment["spec"]["replicas"] == (1 if tier == "database" else REPLICAS[environment])
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == f"{lab.image(tier)}:{lab.releases[0].versions[tier]}"


@pytest.mark.parametrize(("environment", "level"), [("dev", "debug"), ("pre", "info"), ("prod", "info")])
def test_settings_reach_the_pods_and_a_change_of_them_rolls_the_pods(lab, manifests, environment, level):
    (settings,) = [item for (kind, _), item in manifests[environment].items() if kind == "ConfigMap"]
    assert settings["data"]["LOG_LEVEL"] == level
    assert settings["data"]["ENVIRONMENT"] == environment
    name = settings["metadata"]["name"]
    assert name.startswith("demo-app-settings-"), "a hash of the content in the name"
    for tier in lab.tiers:
        pod = manifests[environment]["Deployment", tier]["spec"]["template"]["spec"]
        assert pod["containers"][0]["envFrom"] == [{"configMapRef": {"name": name}}]


@pytest.mark.parametrize("environment", REPLICAS)
def test_everything_is_labelled_and_in_the_namespace(manifests, environment):
    for (kind, name), item in manifests[environment].items():
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "demo-app", (kind, name)
        assert labels["environment"] == environment, (kind, name)
        assert item["metadata"]["namespace"] == "demo-app", (kind, name)


@pytest.mark.parametrize("environment", REPLICAS)
def test_services_and_budgets_select_the_pods_of_their_tier_alone(manifests, environment):
    pods = {
        name: item["spec"]["template"]["metadata"]["labels"]
        for (kind, name), item in manifests[environment].items()
        if kind == "Deployment"
    }
    for (kind, name), item in manifests[environment].items():
        if kind in ("Service", "PodDisruptionBudget"):
            selector = item["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            assert [tier for tier, labels in pods.items() if selector.items() <= labels.items()] == [name]


@pytest.mark.parametrize("environment", REPLICAS)
def test_limits_of_all_pods_and_one_more_for_a_roll_out_fit_the_nodes(lab, manifests, environment):
    size = lab.environment(environment)
    cpu = memory = 0.0
    for (kind, _), item in manifests[environment].items():
        if kind == "Deployment":
            limits = item["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
            count = item["spec"]["replicas"] + (item["spec"]["strategy"].get("type") != "Recreate")
            cpu += count * quantity(limits["cpu"])
            memory += count * quantity(limits["memory"])
    assert cpu <= size.cpu
    assert memory <= quantity(size.memory)


def test_prod_survives_the_loss_of_a_node(manifests):
    for tier in ("frontend", "backend"):
        assert manifests["prod"]["PodDisruptionBudget", tier]["spec"]["maxUnavailable"] == 1
        (spread,) = manifests["prod"]["Deployment", tier]["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
