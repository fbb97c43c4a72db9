"""What a lab is made of, and what is chosen for one."""

import os
from dataclasses import asdict, replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import (
    ENGINES,
    EXTRAS,
    PODS,
    PROVIDERS,
    TRAFFIC,
    Existing,
    Minikube,
    Settings,
    choose,
    load_lab,
    load_settings,
)
from labkit.errors import LabError, UsageError
from labkit.paths import LabHome
from labkit.quantities import quantity

VARIABLES = ("LABKIT_PROVIDER", "LABKIT_PORT_BASE", "LABKIT_KARGO", "LABKIT_PODS", "LABKIT_TRAFFIC", "LABKIT_WITH")
DEFAULTS = Settings(provider="kwok", port_base=17300, kargo="auto", pods="process", traffic="steady")
CONTEXTS = {"dev": "one", "pre": "two", "prod": "three"}
SETTINGS = st.builds(
    Settings,
    provider=st.sampled_from(PROVIDERS),
    port_base=st.integers(1024, 65000),
    kargo=st.sampled_from([engine for engine in ENGINES if engine != "kargolite"]),
    pods=st.sampled_from(PODS),
    traffic=st.sampled_from(TRAFFIC),
    extras=st.lists(st.sampled_from(EXTRAS), unique=True).map(tuple),
    existing=st.builds(Existing, contexts=st.just(CONTEXTS), confirmed=st.lists(st.text(max_size=9)).map(tuple)),
    minikube=st.builds(Minikube, scale=st.floats(0.1, 4)),
    without=st.lists(st.sampled_from(["gitea", "cert-manager"]), unique=True).map(tuple),
)
# What a person may write into a YAML file where a setting belongs.
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())

# The tables of the document that the lab was made from.
SEED_SIZES = {
    "dev": {"context": "gitops-dev", "cpu": 4, "memory": "8Gi", "disk": "50Gi"},
    "pre": {"context": "gitops-pre", "cpu": 3, "memory": "6Gi", "disk": "30Gi"},
    "prod": {"context": "gitops-prod", "cpu": 6, "memory": "12Gi", "disk": "100Gi"},
}
SEED_VERSIONS = {
    "dev": {"frontend": "1.0.0", "backend": "2.1.0", "database": "1.5.0"},
    "pre": {"frontend": "0.9.5", "backend": "2.0.8", "database": "1.4.9"},
    "prod": {"frontend": "0.9.0", "backend": "2.0.5", "database": "1.4.7"},
}
SEED_FLOW = {"dev": "", "pre": "dev", "prod": "pre"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A lab's folder, not made yet, with nothing asked for by the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "lab"))
    return LabHome(tmp_path / "lab")


def _write(home, text):
    home.ensure().settings.write_text(text)


# What the seed fixes


@pytest.mark.parametrize("name", SEED_SIZES)
def test_an_environment_has_the_seeds_size(home, name):
    environment = load_lab(home).environment(name)
    assert {key: getattr(environment, key) for key in SEED_SIZES[name]} == SEED_SIZES[name]


def test_environments_stand_in_the_order_of_promotion(home):
    environments = load_lab(home).environments
    assert {environment.name: environment.upstream for environment in environments} == SEED_FLOW
    assert [environment.name for environment in environments] == ["dev", "pre", "prod"]
    assert [environment.index for environment in environments] == [0, 1, 2]


def test_releases_end_in_the_seeds_versions(home):
    lab = load_lab(home)
    assert {release.promoted_to: dict(release.versions) for release in lab.releases} == SEED_VERSIONS
    assert lab.tiers == tuple(SEED_VERSIONS["dev"])


def test_an_older_release_has_come_further(home):
    lab = load_lab(home)
    reached = [lab.environment(release.promoted_to).index for release in lab.releases]
    assert reached == sorted(reached, reverse=True)
    for tier in lab.tiers:
        versions = [tuple(int(part) for part in release.versions[tier].split(".")) for release in lab.releases]
        assert versions == sorted(versions)


def test_an_environments_sizes_are_quantities(home):
    for environment in load_lab(home).environments:
        assert quantity(environment.memory) == int(environment.memory.removesuffix("Gi")) * 2**30
        assert quantity(environment.disk) > quantity(environment.memory)


def test_the_peoples_roles_are_named(home):
    assert set(load_lab(home).people) == {"developer", "qa", "release-manager", "viewer"}


def test_kargo_runs_in_dev(home):
    assert load_lab(home).control.context == "gitops-dev"


def test_an_unknown_environment_is_wrong_usage(home):
    with pytest.raises(UsageError, match="no environment 'staging'") as caught:
        load_lab(home).environment("staging")
    assert "dev, pre, prod" in caught.value.todo


# Ports


def test_no_two_ports_are_the_same(home):
    ports = load_lab(home).ports
    assert len(set(ports.values())) == len(ports), ports
    assert {"gitea", "valkey", "apiserver of gitops-dev", "argocd-server of gitops-prod"} <= set(ports)


@given(st.integers(1024, 65000))
def test_every_port_lies_in_the_labs_range(base):
    lab = load_lab()
    lab = replace(lab, settings=replace(lab.settings, port_base=base))
    assert lab.port_range.start == base
    assert lab.port_range.stop <= 65536
    for name, port in lab.ports.items():
        assert port in lab.port_range, name


def test_an_environments_ports_are_chosen_by_prefix(home):
    lab = load_lab(home)
    prod = lab.environment("prod")
    assert lab.environment_ports(prod, "etcd", "kwok") == {
        "etcd of gitops-prod": lab.port("etcd", prod),
        "etcd-peer of gitops-prod": lab.port("etcd-peer", prod),
        "kwok of gitops-prod": lab.port("kwok", prod),
    }


def test_addresses_are_on_this_machine_only(home):
    lab = load_lab(home)
    assert lab.gitea_url == f"http://127.0.0.1:{DEFAULTS.port_base}"
    assert lab.image("frontend") == f"127.0.0.1:{DEFAULTS.port_base}/lab/frontend"
    assert lab.repo_url("gitops") == f"http://127.0.0.1:{DEFAULTS.port_base}/lab/gitops.git"


# Settings: the lab's own file, else the environment, else the defaults


def test_a_lab_that_nobody_chose_for_has_the_defaults(home):
    assert load_settings(home) == DEFAULTS


def test_the_environment_comes_before_the_defaults(home, monkeypatch):
    monkeypatch.setenv("LABKIT_PORT_BASE", "20000")
    monkeypatch.setenv("LABKIT_KARGO", "kargolite")
    monkeypatch.setenv("LABKIT_PODS", "simulated")
    monkeypatch.setenv("LABKIT_TRAFFIC", "none")
    monkeypatch.setenv("LABKIT_WITH", "grafana")
    assert load_settings(home) == Settings("kwok", 20000, "kargolite", "simulated", "none", ("grafana",))


def test_an_empty_variable_asks_for_nothing(home, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert load_settings(home) == DEFAULTS


def test_what_a_lab_was_created_with_comes_before_the_environment(home, monkeypatch):
    created = Settings(provider="kwok", port_base=18000, kargo="kargo", pods="simulated", traffic="none")
    _write(home, yaml.safe_dump(asdict(created)))
    monkeypatch.setenv("LABKIT_PORT_BASE", "20000")
    monkeypatch.setenv("LABKIT_KARGO", "kargolite")
    monkeypatch.setenv("LABKIT_PODS", "process")
    monkeypatch.setenv("LABKIT_TRAFFIC", "steady")
    monkeypatch.setenv("LABKIT_WITH", "grafana")
    assert load_settings(home) == created
    assert load_lab(home).settings == created


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LABKIT_KARGO", "argo", "LABKIT_KARGO 'argo' is not known"),
        ("LABKIT_KARGO", "Kargo", "LABKIT_KARGO 'Kargo' is not known"),
        ("LABKIT_PODS", "containers", "LABKIT_PODS 'containers' is not known"),
        ("LABKIT_TRAFFIC", "on", "LABKIT_TRAFFIC 'on' is not known"),
        ("LABKIT_WITH", "grafana, loki", "LABKIT_WITH 'loki' is not known"),
        ("LABKIT_PROVIDER", "docker", "provider 'docker' is not known"),
        ("LABKIT_PORT_BASE", "many", "LABKIT_PORT_BASE is 'many'"),
        ("LABKIT_PORT_BASE", "-1", "LABKIT_PORT_BASE is '-1'"),
        ("LABKIT_PORT_BASE", "17300.5", "LABKIT_PORT_BASE is '17300.5'"),
        ("LABKIT_PORT_BASE", "80", "port base 80 is not between"),
        ("LABKIT_PORT_BASE", "65500", "port base 65500 is not between"),
    ],
)
def test_an_unknown_value_in_the_environment_is_wrong_usage(home, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=said) as caught:
        load_lab(home)
    assert caught.value.exit_code == 2
    assert not home.root.exists()


@given(SETTINGS)
def test_what_was_written_is_what_is_read(tmp_path_factory, settings):
    home = LabHome(tmp_path_factory.mktemp("lab"))
    _write(home, yaml.safe_dump(asdict(settings)))
    assert load_settings(home) == settings


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_damaged_settings_file_is_named(tmp_path_factory, content):
    home = LabHome(tmp_path_factory.mktemp("lab"))
    home.settings.write_bytes(content)
    with pytest.raises(LabError) as caught:
        load_settings(home)
    assert str(home.settings) in caught.value.what


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("provider", "port_base", "kargo", "pods", "traffic", "extras", "existing", "minikube", "without", "more"),
            VALUES,
        ),
    )
)
def test_settings_that_are_read_are_valid(tmp_path_factory, values):
    home = LabHome(tmp_path_factory.mktemp("lab"))
    _write(home, yaml.safe_dump(values | {"provider": "kwok", "kargo": "auto"}))
    try:
        settings = load_settings(home)
    except LabError:
        return
    assert type(settings.port_base) is int
    assert 1024 <= settings.port_base <= 65000


# Choosing


def test_a_choice_is_kept(home):
    lab = choose(load_lab(home), port_base=19000, kargo="kargolite")
    assert lab.settings == Settings(
        provider="kwok", port_base=19000, kargo="kargolite", pods="process", traffic="steady"
    )
    assert load_lab(home).settings == lab.settings
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_a_choice_comes_before_the_environment(home, monkeypatch):
    monkeypatch.setenv("LABKIT_PORT_BASE", "20000")
    monkeypatch.setenv("LABKIT_KARGO", "kargo")
    assert choose(load_lab(home), kargo="kargolite").settings == Settings(
        "kwok", 20000, "kargolite", "process", "steady"
    )


def test_choosing_nothing_or_the_same_again_changes_nothing(home):
    first = choose(load_lab(home), port_base=19000)
    assert choose(load_lab(home)).settings == first.settings
    assert choose(load_lab(home), port_base=19000, kargo="auto", provider="kwok").settings == first.settings


@pytest.mark.parametrize(
    "different", [{"port_base": 19001}, {"kargo": "kargolite"}, {"pods": "simulated"}, {"traffic": "none"}]
)
def test_another_choice_for_an_existing_lab_is_refused(home, different):
    first = choose(load_lab(home), port_base=19000, kargo="kargo")
    with pytest.raises(UsageError, match="was created with") as caught:
        choose(load_lab(home), **different)
    assert str(home.root) in caught.value.what
    assert str(next(iter(different.values()))) in caught.value.seen
    assert load_lab(home).settings == first.settings


def test_a_lab_that_was_created_before_there_were_extras_has_none(home):
    _write(home, "{provider: kwok, port_base: 18000, kargo: auto, pods: process, traffic: steady}")
    assert load_settings(home).extras == ()


def test_an_extra_may_be_added_to_an_existing_lab_and_stays(home):
    before = choose(load_lab(home), port_base=19000).settings
    assert choose(load_lab(home), extras=("grafana",)).settings == replace(before, extras=("grafana",))
    assert choose(load_lab(home)).settings.extras == ("grafana",)
    assert choose(load_lab(home), extras=("grafana",)).settings.extras == ("grafana",)
    assert load_lab(home).settings == replace(before, extras=("grafana",))


def test_the_environment_adds_an_extra_too(home, monkeypatch):
    choose(load_lab(home), port_base=19000)
    monkeypatch.setenv("LABKIT_WITH", "grafana")
    assert choose(load_lab(home)).settings.extras == ("grafana",)


def test_with_an_extra_nothing_else_may_differ(home):
    first = choose(load_lab(home), port_base=19000)
    with pytest.raises(UsageError, match="was created with"):
        choose(load_lab(home), extras=("grafana",), traffic="none")
    assert load_lab(home).settings == first.settings


def test_an_environment_that_asks_for_another_lab_is_refused(home, monkeypatch):
    choose(load_lab(home), port_base=19000)
    monkeypatch.setenv("LABKIT_PORT_BASE", "20000")
    with pytest.raises(UsageError, match="was created with"):
        choose(load_lab(home))


@pytest.mark.parametrize("wrong", [{"provider": "docker"}, {"kargo": "argo"}, {"pods": "docker"}, {"port_base": 80}])
def test_an_unknown_choice_leaves_nothing_behind(home, wrong):
    with pytest.raises(UsageError, match="Your choice"):
        choose(load_lab(home), **wrong)
    assert not home.root.exists()


def test_the_labs_folder_is_labkit_home(home):
    assert load_lab().home == home
    assert os.environ["LABKIT_HOME"] == str(home.root)


# Clusters that are not embedded

SOMEBODYS = Existing("~/.kube/config", CONTEXTS)


def test_existing_clusters_are_chosen_by_their_contexts(home):
    lab = choose(load_lab(home), provider="existing", existing=SOMEBODYS, confirmed=("three",), without=("gitea",))
    assert load_lab(home).settings == lab.settings
    assert lab.settings.in_cluster
    assert lab.settings.existing == replace(SOMEBODYS, confirmed=("three",))


@pytest.mark.parametrize(
    ("contexts", "said"),
    [
        ({}, "needs a context for dev, pre, prod"),
        ({"dev": "one", "prod": "three"}, "needs a context for pre"),
        ({**CONTEXTS, "test": "four"}, "no environment test"),
        ({**CONTEXTS, "pre": "one"}, "a cluster of its own"),
    ],
)
def test_each_environment_needs_a_context_of_its_own(home, contexts, said):
    with pytest.raises(UsageError, match=said):
        choose(load_lab(home), provider="existing", existing=Existing("config", contexts))
    assert not home.root.exists()


def test_a_context_may_be_confirmed_later_and_stays(home):
    choose(load_lab(home), provider="existing", existing=SOMEBODYS)
    choose(load_lab(home), confirmed=("three",))
    assert choose(load_lab(home), confirmed=("one",)).settings.existing.confirmed == ("three", "one")
    assert load_lab(home).settings.existing.confirmed == ("three", "one")


def test_other_contexts_for_an_existing_lab_are_refused(home):
    first = choose(load_lab(home), provider="existing", existing=SOMEBODYS)
    with pytest.raises(UsageError, match="was created with"):
        choose(load_lab(home), existing=Existing("~/.kube/config", {**CONTEXTS, "prod": "other"}))
    assert load_lab(home).settings == first.settings


@pytest.mark.parametrize("provider", ["existing", "minikube"])
def test_the_stand_in_runs_beside_embedded_clusters_only(home, provider):
    with pytest.raises(UsageError, match="kargolite runs beside embedded clusters only"):
        choose(load_lab(home), provider=provider, existing=SOMEBODYS, kargo="kargolite")


@pytest.mark.parametrize("scale", [0, -1, 4.1])
def test_a_scale_that_makes_no_clusters_is_refused(home, scale):
    with pytest.raises(UsageError, match="scale"):
        choose(load_lab(home), provider="minikube", minikube=Minikube(scale=scale))


@pytest.mark.parametrize("provider", ["existing", "minikube"])
def test_what_needs_services_on_this_machine_is_refused(home, provider):
    lab = choose(load_lab(home), provider=provider, existing=SOMEBODYS)
    with pytest.raises(LabError, match="there is no Gitea on this machine"):
        lab.repo_url("gitops")


def test_a_lab_of_before_there_was_a_choice_of_clusters_is_read(home):
    _write(home, "{provider: kwok, port_base: 18000, kargo: kargolite, pods: process, traffic: steady}")
    assert not load_settings(home).in_cluster
