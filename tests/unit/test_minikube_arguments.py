"""minikube's command lines, and what a machine must have for them; the real one is asked in tests/integration."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.clusters.minikube import Host, MinikubeClusters, node_size, shortfall, start_arguments
from labkit.config import Minikube, load_lab
from labkit.errors import UsageError
from labkit.quantities import quantity

# The seed's commands for DEV and PRE, and PROD's sizes in all.
SEED = {
    "dev": {"--profile=gitops-dev", "--cpus=4", "--memory=8g", "--disk-size=50g", "--nodes=1"},
    "pre": {"--profile=gitops-pre", "--cpus=3", "--memory=6g", "--disk-size=30g", "--nodes=1"},
    # A third for each of three nodes; 100 GiB are not divisible by three.
    "prod": {"--profile=gitops-prod", "--cpus=2", "--memory=4g", "--disk-size=34134m", "--nodes=3"},
}
WORKSTATION = Host(cpus=16, memory_gib=32, disk_gib=500)


def _lab(scale=1.0, driver=""):
    lab = load_lab()
    return replace(lab, settings=replace(lab.settings, provider="minikube", minikube=Minikube(driver, scale)))


@pytest.mark.parametrize("name", SEED)
def test_a_cluster_is_started_with_the_seeds_size(name):
    lab = _lab()
    first, *options = start_arguments(lab, lab.environment(name), "docker")
    assert first == "start"
    assert set(options) >= SEED[name]
    assert set(options) >= {"--driver=docker", f"--kubernetes-version=v{lab.minikube.kubernetes}"}


def test_all_clusters_are_on_one_network_and_of_one_version():
    lab = _lab()
    commands = [start_arguments(lab, environment, "docker") for environment in lab.environments]
    for option in ("--network=", "--kubernetes-version="):
        assert len({word for command in commands for word in command if word.startswith(option)}) == 1


def test_labs_of_one_machine_have_networks_of_their_own():
    lab = _lab()
    other = replace(lab, settings=replace(lab.settings, port_base=lab.settings.port_base + 100))
    assert start_arguments(lab, lab.control, "docker") != start_arguments(other, other.control, "docker")


def test_half_the_scale_is_half_the_size():
    lab = _lab(scale=0.5)
    assert set(start_arguments(lab, lab.control, "docker")) >= {"--cpus=2", "--memory=4g", "--disk-size=25g"}


@given(st.floats(0.05, 4))
def test_nodes_together_have_their_environments_size_and_none_is_too_small_to_start(scale):
    lab = _lab(scale=scale)
    for environment in lab.environments:
        size = node_size(lab, environment)
        assert size.nodes == environment.nodes
        assert size.cpus * size.nodes >= environment.cpu * scale - 1e-6
        assert size.memory_mib * size.nodes >= quantity(environment.memory) / 2**20 * scale - 1e-6
        assert size.cpus >= lab.minikube.least_cpus
        assert size.memory_mib >= quantity(lab.minikube.least_memory) / 2**20


def test_the_seeds_workstation_is_large_enough():
    assert shortfall(_lab(), Host(cpus=13, memory_gib=26, disk_gib=181)) == ()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (replace(WORKSTATION, cpus=8), "5 CPU too little (13 wanted, 8 there)"),
        (replace(WORKSTATION, memory_gib=20.0), "6 GiB of memory too little (26 wanted, 20 there)"),
        (replace(WORKSTATION, disk_gib=100.0), "80 GiB of disk too little (180 wanted, 100 there)"),
    ],
)
def test_a_shortfall_is_named(host, said):
    assert shortfall(_lab(), host) == (said,)


def test_everything_that_is_short_is_named():
    assert len(shortfall(_lab(), Host(cpus=2, memory_gib=4, disk_gib=10))) == 3


def test_only_clusters_that_do_not_run_yet_need_room():
    lab = _lab()
    assert shortfall(lab, Host(cpus=4, memory_gib=8, disk_gib=50), [lab.control]) == ()


def test_a_driver_without_a_shared_network_is_refused():
    with pytest.raises(UsageError, match="three clusters on one network") as caught:
        MinikubeClusters(_lab(driver="none")).check()
    assert "docker" in caught.value.todo
    MinikubeClusters(_lab(driver="docker")).check()


def test_clusters_that_were_never_made_need_no_minikube_to_be_absent(tmp_path):
    """Nothing is fetched or built to find that out."""
    lab = replace(_lab(), home=replace(load_lab().home, root=tmp_path / "lab"))
    clusters = MinikubeClusters(lab)
    assert {clusters.status(environment).state for environment in lab.environments} == {"absent"}
    assert clusters.to_start() == lab.environments
    for environment in lab.environments:
        clusters.stop(environment)
        clusters.delete(environment)
