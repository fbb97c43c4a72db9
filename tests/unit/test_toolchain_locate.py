"""Looking for programs: on PATH, in the cache, in a Python package."""

import dataclasses
from pathlib import Path

import pytest

from labkit.errors import LabError
from labkit.toolchain import Toolset, find_tools, link_into, load_catalogue
from labkit.toolchain.cache import Cache, Origin
from labkit.toolchain.catalogue import this_platform
from labkit.toolchain.locate import locate

CATALOGUE = load_catalogue()
KUBECTL = CATALOGUE.programs["kubectl"]


def script(file: Path, body: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def kubectl(folder: Path, version: str) -> Path:
    return script(folder / "kubectl", f"echo 'Client Version: v{version}'")


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", this_platform())


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Sets PATH to folders below tmp_path; returns that folder."""

    def set_path(*folders: str) -> Path:
        monkeypatch.setenv("PATH", ":".join([*(str(tmp_path / folder) for folder in folders), "/bin"]))
        monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "lab"))
        return tmp_path

    return set_path


def only_ours(found_notes: tuple[str, ...], root: Path) -> list[str]:
    return [note for note in found_notes if str(root) in note]


def test_the_first_that_will_do_is_taken_and_refusals_are_recorded(on_path, cache) -> None:
    root = on_path("old", "broken", "silent", "good", "later")
    kubectl(root / "old", "1.32.4-dispatcher")
    script(root / "broken" / "kubectl", "echo no such cluster >&2; exit 3")
    script(root / "silent" / "kubectl", "echo hello")
    good = kubectl(root / "good", "1.36.7")
    kubectl(root / "later", "1.36.1")

    found = locate(KUBECTL, cache)

    assert (found.source, found.version, found.path) == ("path", "1.36.7", good)
    assert [note.removeprefix(str(root)) for note in found.notes] == [
        "/old/kubectl is 1.32.4, wanted 1.36.x",
        f"/broken/kubectl does not run: `{root}/broken/kubectl version --client` ended with 3",
        "/silent/kubectl does not say its version",
    ]


def test_a_file_that_is_no_program_is_refused_not_a_crash(on_path, cache) -> None:
    root = on_path("bad")
    bad = root / "bad" / "kubectl"
    bad.parent.mkdir()
    bad.write_bytes(b"\x7fELF not really")
    bad.chmod(0o755)
    found = locate(KUBECTL, cache)
    assert found.source == "missing"
    assert only_ours(found.notes, root)[0].startswith(f"{bad} does not run")


def test_one_file_under_two_names_is_asked_once(on_path, cache) -> None:
    root = on_path("a", "b")
    real = kubectl(root / "a", "1.30.0")
    (root / "b").mkdir()
    (root / "b" / "kubectl").symlink_to(real)
    assert len(only_ours(locate(KUBECTL, cache).notes, root)) == 1


def test_what_is_not_executable_is_passed_over(on_path, cache) -> None:
    root = on_path("a")
    kubectl(root / "a", "1.36.1").chmod(0o644)
    assert only_ours(locate(KUBECTL, cache).notes, root) == []


def test_the_labs_own_links_are_not_path(on_path, cache) -> None:
    root = on_path("lab/bin")
    real = kubectl(root / "elsewhere", "1.36.1")
    (root / "lab" / "bin").mkdir(parents=True)
    (root / "lab" / "bin" / "kubectl").symlink_to(real)
    assert locate(KUBECTL, cache).source == "missing"


def test_another_labs_links_into_the_cache_are_not_path(on_path, cache) -> None:
    root = on_path("other-lab/bin")
    with cache.installing(cache.program(KUBECTL), Origin("release", "https://example.test")) as place:
        kubectl(place.parent, "1.36.1")
    (root / "other-lab" / "bin").mkdir(parents=True)
    (root / "other-lab" / "bin" / "kubectl").symlink_to(cache.program(KUBECTL))

    found = locate(KUBECTL, cache)

    assert (found.source, found.path) == ("cache", cache.program(KUBECTL))
    assert "from its release" in found.notes


def test_a_second_name_will_do(on_path, cache) -> None:
    root = on_path("a")
    redis = script(root / "a" / "redis-server", "echo 'Redis server v=7.2.4 sha=0:0'")
    valkey = dataclasses.replace(CATALOGUE.programs["valkey-server"], package=None)
    found = locate(valkey, cache)
    assert (found.source, found.version, found.path) == ("path", "7.2.4", redis)


def test_the_packaged_valkey_is_found_without_path(on_path, cache) -> None:
    on_path()
    valkey = dataclasses.replace(CATALOGUE.programs["valkey-server"], on_path=())
    found = locate(valkey, cache)
    assert (found.source, found.version) == ("package", "9.1.2")


def test_an_unfinished_installation_leaves_nothing(cache) -> None:
    def interrupted() -> None:
        with cache.installing(cache.program(KUBECTL), Origin("release", "")) as place:
            kubectl(place.parent, "1.36.1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not cache.has(cache.program(KUBECTL))
    assert list(cache.root.rglob("kubectl")) == []


def test_find_tools_only_looks(on_path, cache) -> None:
    on_path()
    found = find_tools(["kwokctl", "kargo-crds"], cache=cache.root)
    assert [(tool.name, tool.source) for tool in found.missing] == [("kwokctl", "missing"), ("kargo-crds", "missing")]
    assert not cache.root.exists()
    with pytest.raises(LabError, match="kwokctl is missing"):
        found.path("kwokctl")
    with pytest.raises(LabError, match="git is not among"):
        found.path("git")


def test_a_toolset_shows_itself(on_path, cache) -> None:
    root = on_path("a")
    kubectl(root / "a", "1.36.1")
    found = find_tools(["kubectl"], cache=cache.root)
    assert "1.36.1" in repr(found)
    assert f"{root}/a/kubectl" in found._repr_html_()
    assert found.as_json()[0]["path"] == f"{root}/a/kubectl"


def test_links_carry_the_labs_names_and_are_renewed(on_path, cache, tmp_path) -> None:
    root = on_path("a")
    script(root / "a" / "redis-server", "echo 'Redis server v=7.2.4 sha=0:0'")
    links = tmp_path / "links"
    link_into(find_tools(["valkey-server", "kargo-crds"], cache=cache.root), links)
    assert (links / "valkey-server").resolve() == root / "a" / "redis-server"

    on_path("b")
    newer = script(root / "b" / "valkey-server", "echo 'Valkey server v=8.1.0 sha=0:0'")
    link_into(find_tools(["valkey-server"], cache=cache.root), links)
    assert (links / "valkey-server").resolve() == newer
    assert [link.name for link in links.iterdir()] == ["valkey-server"]


def test_an_empty_toolset_links_nothing(tmp_path) -> None:
    assert list(link_into(Toolset(()), tmp_path / "links").iterdir()) == []
