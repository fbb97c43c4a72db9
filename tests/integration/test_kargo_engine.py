"""Which engine a lab gets: from PATH, from the cache, pulled from a registry, or the stand-in, and never silently."""

import dataclasses
import gzip
import platform
import time

import pytest
from _images import ImageRegistry, file, layer

from labkit.config import load_lab
from labkit.errors import LabError
from labkit.paths import LabHome
from labkit.process import free_port_range
from labkit.services.kargo import CONTROL_PLANE, choose_engine, ensure_engine
from labkit.toolchain import load_catalogue, release

PINNED = load_catalogue().images[CONTROL_PLANE].version


def program(version):
    """What stands for Kargo's control plane in these tests: it says a version as Kargo does, after a log line."""
    said = f'{{\n  "version": "{version}",\n  "buildDate": "2026-01-01T00:00:00Z"\n}}'
    return f"#!/bin/sh\n[ $1 = version ] || exit 1\necho 'INFO starting' >&2\necho '{said}'\n"


@pytest.fixture(autouse=True)
def _no_control_plane_on_path(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(release, "_unreachable", {})


@pytest.fixture
def registry():
    server = ImageRegistry("akuity/kargo")
    release_image(server, f"v{PINNED}")
    yield server
    server.close()


def release_image(server, version, tag=f"v{PINNED}"):
    """Publish an image whose program says this version; gives the digest of its index."""
    base = layer(file("etc/os-release", "a base image"))
    images = [
        server.content.image([base, layer(file("usr/local/bin/kargo", program(version), 0o755))], arch=arch)
        for arch in ("amd64", "arm64")
    ]
    return server.content.index(tag, *images)


@pytest.fixture
def machine(tmp_path, registry):
    """A machine that pulls from the test's registry: `choose` and `ensure` for a setting."""
    return Machine(tmp_path, f"{registry.host}/akuity/kargo")


class Machine:
    def __init__(self, folder, repository):
        self.cache = folder / "cache"
        self._lab = load_lab(LabHome(folder / "lab"))
        self.image(address=f"{repository}:v{PINNED}")

    def image(self, **changes):
        catalogue = load_catalogue()
        image = dataclasses.replace(catalogue.images[CONTROL_PLANE], **changes)
        self.catalogue = dataclasses.replace(catalogue, images={CONTROL_PLANE: image})

    def _call(self, function, setting):
        lab = dataclasses.replace(self._lab, settings=dataclasses.replace(self._lab.settings, kargo=setting))
        return function(lab, catalogue=self.catalogue, cache=self.cache)

    def choose(self, setting):
        return self._call(choose_engine, setting)

    def ensure(self, setting):
        return self._call(ensure_engine, setting)


def put_on_path(tmp_path, version):
    path = tmp_path / "bin" / CONTROL_PLANE
    path.write_text(program(version))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("setting", ["auto", "kargo"])
def test_one_on_path_is_used_as_it_is_whatever_its_version(machine, registry, tmp_path, setting):
    path = put_on_path(tmp_path, "v1.12.0-rc.1")
    for engine in (machine.choose(setting), machine.ensure(setting)):
        assert (engine.name, engine.program) == ("kargo", path)
        assert "1.12.0" in engine.why
        assert "on PATH" in engine.why
    assert not registry.asked
    assert not machine.cache.exists()


@pytest.mark.parametrize("setting", ["auto", "kargo"])
def test_it_is_pulled_once_and_then_taken_from_the_cache(machine, registry, setting):
    engine = machine.ensure(setting)
    assert engine.name == "kargo"
    digest = registry.content.tags[f"v{PINNED}"]
    assert f"was pulled from {registry.host}/akuity/kargo ({digest[:19]}…)" in engine.why
    assert PINNED in engine.program
    asked = len(registry.asked)
    registry.close()
    assert machine.ensure(setting) == machine.choose(setting) == engine
    assert len(registry.asked) == asked


def test_looking_pulls_nothing(machine):
    engine = machine.choose("auto")
    assert (engine.name, engine.program) == ("kargo", "")
    assert "is to be pulled from" in engine.why
    assert not machine.cache.exists()


def test_the_stand_in_is_taken_where_it_is_asked_for_and_no_registry_is(machine, registry, tmp_path):
    put_on_path(tmp_path, "v1.11.2")
    for engine in (machine.choose("kargolite"), machine.ensure("kargolite")):
        assert (engine.name, engine.program) == ("kargolite", "")
        assert "LABKIT_KARGO=kargolite" in engine.why
    assert not registry.asked


@pytest.mark.parametrize("how", ["choose", "ensure"])
def test_without_a_registry_the_stand_in_says_why_it_runs(machine, how):
    port = free_port_range(1)
    machine.image(address=f"127.0.0.1:{port}/akuity/kargo:v{PINNED}")
    started = time.monotonic()
    engine = getattr(machine, how)("auto")
    assert time.monotonic() - started < 5
    assert engine.name == "kargolite"
    assert "not on PATH" in engine.why
    assert "127.0.0.1 cannot be reached" in engine.why


@pytest.mark.parametrize("how", ["choose", "ensure"])
def test_the_genuine_one_that_was_asked_for_and_cannot_be_had_is_one_error_with_all_that_was_tried(machine, how):
    machine.image(address=f"127.0.0.1:{free_port_range(1)}/akuity/kargo:v{PINNED}")
    with pytest.raises(LabError, match="LABKIT_KARGO=kargo, but the genuine control plane cannot be had") as caught:
        getattr(machine, how)("kargo")
    for tried in (f"{CONTROL_PLANE} is not on PATH", str(machine.cache), PINNED, "127.0.0.1 cannot be reached"):
        assert tried in caught.value.seen
    assert "LABKIT_KARGO=auto" in caught.value.todo


@pytest.mark.parametrize("how", ["choose", "ensure"])
def test_on_macos_the_stand_in_runs_because_the_image_has_linux_programs_only(machine, registry, monkeypatch, how):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    engine = getattr(machine, how)("auto")
    assert engine.name == "kargolite"
    assert "linux/amd64, linux/arm64 only, and this is darwin/arm64" in engine.why
    assert not registry.asked
    with pytest.raises(LabError) as caught:
        getattr(machine, how)("kargo")
    assert "this is darwin/arm64" in caught.value.seen


@pytest.mark.parametrize("setting", ["auto", "kargo"])
def test_an_image_that_is_not_the_pinned_one_is_an_error_and_no_reason_to_stand_in(machine, registry, setting):
    pinned = registry.content.tags[f"v{PINNED}"]
    machine.image(address=f"{registry.host}/akuity/kargo:v{PINNED}", digest=pinned)
    good = registry.content.manifests[pinned]
    registry.content.manifests[pinned] = (good[0], good[1] + b" ")
    with pytest.raises(LabError, match="answered another image"):
        machine.ensure(setting)
    assert not list(machine.cache.glob("images/**/kargo"))
    registry.content.manifests[pinned] = good
    assert machine.ensure(setting).name == "kargo"


@pytest.mark.parametrize("setting", ["auto", "kargo"])
def test_a_tampered_layer_is_an_error_and_no_reason_to_stand_in(machine, registry, setting):
    for name in registry.content.blobs:
        if registry.content.blobs[name].startswith(b"\x1f\x8b"):
            registry.content.blobs[name] = gzip.compress(layer(file("usr/local/bin/kargo", program("v6.6.6"), 0o755)))
    with pytest.raises(LabError, match="answered another blob"):
        machine.ensure(setting)
    assert not list(machine.cache.glob("images/**/kargo"))


def test_a_program_of_another_version_is_not_used(machine, registry):
    release_image(registry, "v1.11.1")
    with pytest.raises(LabError, match=f"is not version {PINNED}") as caught:
        machine.ensure("auto")
    assert "1.11.1" in caught.value.seen
    assert not list(machine.cache.glob("images/**/kargo"))


def test_an_image_without_the_program_is_named(machine, registry):
    registry.content.index(f"v{PINNED}", registry.content.image([layer(file("bin/other"))]))
    machine.image(
        address=f"{registry.host}/akuity/kargo:v{PINNED}", platforms=frozenset({"linux/amd64", "linux/arm64"})
    )
    if platform.machine() in ("x86_64", "amd64"):
        with pytest.raises(LabError, match="holds no file usr/local/bin/kargo"):
            machine.ensure("auto")


def test_what_is_cached_is_not_used_once_another_digest_is_pinned(machine, registry):
    machine.ensure("auto")
    registry.content.blobs.clear()
    registry.content.manifests.clear()
    machine.image(address=f"{registry.host}/akuity/kargo:v{PINNED}", digest="sha256:" + "0" * 64)
    assert machine.ensure("auto").name == "kargolite"
