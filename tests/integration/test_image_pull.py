"""Images that others publish, pulled from a registry on this machine: multi-layer, behind an index, with a token."""

import contextlib
import gzip
import json
import os
import socket
import tarfile
import time
from pathlib import Path

import httpx
import pytest
from _gitea import gitea_server  # noqa: F401 (the fixture)
from _images import (
    INDEX,
    LAYER,
    MANIFEST,
    TOKEN,
    Content,
    ImageRegistry,
    digest,
    file,
    folder,
    hardlink,
    layer,
    special,
    symlink,
)

from labkit.delivery import oci, pull
from labkit.delivery.pull import find_image, unpack_remote_image
from labkit.errors import LabError
from labkit.process import free_port_range
from labkit.toolchain import release
from labkit.toolchain.catalogue import Platform
from labkit.toolchain.release import Unavailable

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
BASE = layer(
    folder("usr"),
    folder("usr/bin"),
    file("usr/bin/busybox", "busybox", 0o4755),
    symlink("bin", "usr/bin"),
    symlink("usr/bin/sh", "/bin/busybox"),
    hardlink("usr/bin/ash", "usr/bin/busybox"),
    file("etc/motd", "welcome"),
    file("var/cache/index", "old"),
    special("dev/null", tarfile.CHRTYPE),
)
TOOLS = layer(file("bin/kargo", "kargo 1", 0o755), file("etc/.wh.motd"), file("var/cache/.wh..wh..opq"))
TOP = layer(file("bin/kargo", "kargo 2", 0o755), file("var/cache/fresh", "new"))
LAYERS = (BASE, TOOLS, TOP)
FILES = {
    "usr/bin/busybox": "busybox",
    "usr/bin/sh": "busybox",
    "usr/bin/ash": "busybox",
    "usr/bin/kargo": "kargo 2",
    "var/cache/fresh": "new",
}


@pytest.fixture(autouse=True)
def _nothing_is_known_to_be_unreachable(monkeypatch):
    monkeypatch.setattr(release, "_unreachable", {})


@pytest.fixture
def registry():
    server = ImageRegistry()
    yield server
    server.close()


@pytest.fixture
def into(tmp_path):
    return tmp_path / "cache" / "image"


def pulled(address, into, platform=AMD64, **more):
    image = find_image(address, platform, **more)
    unpack_remote_image(image, platform, into, title="a test's image")
    return image


def files(root):
    """The files of an unpacked image by their own paths, links to files among them."""
    found = {}
    for place, _, names in os.walk(root):
        paths = [Path(place, name) for name in names]
        found |= {path.relative_to(root).as_posix(): path.read_text() for path in paths if path.is_file()}
    return found


def _refused(address, into, match, **more):
    """Pulling ends with this error, and leaves nothing behind."""
    with pytest.raises(LabError, match=match) as caught:
        pulled(address, into, **more)
    assert not into.exists()
    assert not into.parent.exists() or not any(into.parent.iterdir()), list(into.parent.rglob("*"))
    return caught.value


def test_layers_behind_an_index_become_the_images_files(registry, into):
    index = registry.content.index("1.0", registry.content.image(LAYERS))
    image = pulled(registry.address("1.0"), into)
    assert files(into) == FILES
    assert image.digest == index, "the digest noted is not that of what the tag names"
    assert (into / "bin" / "kargo").stat().st_mode & 0o7777 == 0o755
    assert (into / "usr/bin/busybox").stat().st_mode & 0o7000 == 0, "a special right was kept"
    assert not (into / "dev/null").exists()
    assert [path.name for path in into.parent.iterdir()] == [into.name], "scratch files were left"


def test_each_platform_gets_its_own_image(registry, tmp_path):
    content = registry.content
    arm = content.image([layer(file("arch", "arm64"))], arch="arm64")
    content.index("1.0", arm, content.image([layer(file("arch", "amd64"))]))
    for platform in (AMD64, ARM64):
        pulled(registry.address("1.0"), tmp_path / platform.arch, platform)
        assert (tmp_path / platform.arch / "arch").read_text() == platform.arch
    _refused(
        registry.address("1.0"),
        tmp_path / "x" / "mac",
        "no image for darwin/arm64",
        platform=Platform("darwin", "arm64"),
    )


def test_an_image_without_an_index_is_pulled_where_its_configuration_names_the_platform(registry, into, tmp_path):
    registry.content.tags["1.0"] = registry.content.image(LAYERS)["digest"]
    assert pulled(registry.address("1.0"), into).digest == registry.content.tags["1.0"]
    assert files(into) == FILES
    _refused(registry.address("1.0"), tmp_path / "arm" / "image", "no image for linux/arm64", platform=ARM64)


def test_layers_that_are_not_compressed_are_taken_too(registry, into):
    plain = registry.content.image(LAYERS, kind="application/vnd.oci.image.layer.v1.tar")
    registry.content.index("1.0", plain)
    pulled(registry.address("1.0"), into)
    assert files(into) == FILES


def test_a_layer_of_several_gzip_members_is_taken(registry, into):
    """Seekable layers (eStargz) are written that way."""
    packed = gzip.compress(TOP[:700]) + gzip.compress(TOP[700:])
    image = registry.content.image([TOP])
    manifest = _changed_manifest(registry.content, image, layers=[registry.content.blob(packed, LAYER)])
    registry.content.index("1.0", {**image, **manifest})
    pulled(registry.address("1.0"), into)
    assert (into / "bin" / "kargo").read_text() == "kargo 2"


# Tokens


def test_a_token_for_everybody_is_fetched_where_the_registry_wants_one(registry, into):
    registry.content.index("1.0", registry.content.image(LAYERS))
    pulled(registry.address("1.0"), into)
    tokens = [path for path, _ in registry.asked if path.startswith("/token")]
    assert len(tokens) == 1, "one token does for all requests"
    assert "service=tests" in tokens[0]
    assert "scope=repository%3Atests%2Fthing%3Apull" in tokens[0]


def test_a_registry_that_wants_no_token_is_asked_without(registry, into):
    registry.wants_token = False
    registry.content.index("1.0", registry.content.image(LAYERS))
    pulled(registry.address("1.0"), into)
    assert {authorization for _, authorization in registry.asked} == {""}


def test_a_registry_that_gives_no_token_is_no_way_to_get_the_image(registry):
    registry.gives_token = False
    registry.content.index("1.0", registry.content.image(LAYERS))
    with pytest.raises(Unavailable, match="cannot be pulled"):
        find_image(registry.address("1.0"), AMD64)


def test_the_token_is_not_shown_to_the_host_that_keeps_the_blobs(registry, into):
    storage = ImageRegistry(registry.repository)
    storage.content, storage.wants_token = registry.content, False
    # Another name of this machine: for a client, another host.
    registry.blobs_elsewhere = f"http://localhost:{storage.port}"
    try:
        registry.content.index("1.0", registry.content.image(LAYERS))
        pulled(registry.address("1.0"), into)
    finally:
        storage.close()
    assert files(into) == FILES
    assert len(storage.asked) == 4, "a configuration and three layers"
    assert not [authorization for _, authorization in storage.asked if TOKEN in authorization]


# What is not what its digest says


def test_an_index_that_is_not_the_pinned_one_is_refused(registry, into):
    pinned = registry.content.index("1.0", registry.content.image(LAYERS))
    registry.content.index("1.0", registry.content.image([TOP]))
    assert pulled(registry.address("1.0"), into, digest=pinned).digest == pinned, "the digest counts, not the tag"
    registry.content.manifests[pinned] = registry.content.manifests[registry.content.tags["1.0"]]
    with pytest.raises(LabError, match=f"answered another image than .*@{pinned}"):
        find_image(registry.address("1.0"), AMD64, digest=pinned)


def test_a_manifest_that_is_not_the_indexs_is_refused(registry):
    image, other = registry.content.image(LAYERS), registry.content.image([TOP])
    registry.content.index("1.0", image)
    registry.content.manifests[image["digest"]] = registry.content.manifests[other["digest"]]
    with pytest.raises(LabError, match="answered another image"):
        find_image(registry.address("1.0"), AMD64)


@pytest.mark.parametrize("which", ["configuration", "layer"])
def test_a_blob_that_is_not_what_its_digest_says_is_refused(registry, into, which):
    image = registry.content.image(LAYERS)
    registry.content.index("1.0", image)
    manifest = json.loads(registry.content.manifests[image["digest"]][1])
    wanted = (manifest["config"] if which == "configuration" else manifest["layers"][1])["digest"]
    registry.content.blobs[wanted] = gzip.compress(layer(file("bin/kargo", "evil", 0o755)))
    _refused(registry.address("1.0"), into, f"answered another blob than {wanted}")


def test_a_blob_that_never_ends_is_cut_off_at_its_size(registry, into, monkeypatch):
    image = registry.content.image([TOP])
    registry.content.index("1.0", image)
    wanted = json.loads(registry.content.manifests[image["digest"]][1])["layers"][0]
    registry.content.blobs[wanted["digest"]] = os.urandom(64 * 1024 * 1024)
    largest = 0
    original = pull._Progress.__call__

    def watch(self, size):
        nonlocal largest
        largest = max(largest, size)
        original(self, size)

    monkeypatch.setattr(pull._Progress, "__call__", watch)
    _refused(registry.address("1.0"), into, "answered another blob")
    assert largest <= wanted["size"] + 1024 * 1024, "it was downloaded to its end"


def test_a_layer_with_other_files_than_the_configuration_says_is_refused(registry, into):
    lying = registry.content.image([BASE, TOP], contents=[digest(BASE), digest(TOOLS)])
    registry.content.index("1.0", lying)
    _refused(registry.address("1.0"), into, "other files than its configuration says")


def test_more_layers_than_the_configuration_names_are_refused(registry, into):
    registry.content.index("1.0", registry.content.image([BASE, TOP], contents=[digest(BASE)]))
    _refused(registry.address("1.0"), into, "2 layers, its configuration names 1")


# What is not safe, and what is no image


MALICIOUS = {
    "a path that leads outside": ([file("../evil")], "leads outside"),
    "an absolute path": ([file("/evil")], "leads outside"),
    "a link that leads outside": ([symlink("link", "../../../../etc")], "a link that leads outside"),
    "a hard link to a file outside": ([hardlink("link", "../../../../etc/passwd")], "leads outside"),
    "a hard link to an absolute path": ([hardlink("link", "/etc/passwd")], "no file in it"),
    "a hard link through a link": ([symlink("way", "/etc"), hardlink("link", "way/passwd")], "no file in it"),
    "a whiteout of what is above": ([file("a/.wh...")], "deletes what is no name"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_layer_is_refused_and_leaves_nothing(registry, into, name):
    members, said = MALICIOUS[name]
    registry.content.index("1.0", registry.content.image([BASE, layer(*members), TOP]))
    _refused(registry.address("1.0"), into, said)


def test_a_layer_that_writes_through_an_absolute_link_writes_into_the_image(registry, into, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    through = layer(symlink("link", str(outside)), file("link/evil", "evil"))
    registry.content.index("1.0", registry.content.image([through, layer(file("link/more"))]))
    pulled(registry.address("1.0"), into)
    assert not list(outside.iterdir())
    assert (into / str(outside).lstrip("/") / "evil").read_text() == "evil"


def test_an_image_that_unpacks_to_too_much_is_refused(registry, into, monkeypatch):
    monkeypatch.setattr(pull, "MAX_UNPACKED", 3_000_000)
    zeros = layer(file("zeros", b"\0" * 2_000_000))
    registry.content.index("1.0", registry.content.image([zeros]))
    pulled(registry.address("1.0"), into.with_name("small"))
    registry.content.index("2.0", registry.content.image([zeros, layer(file("more", b"\0" * 2_000_000))]))
    with pytest.raises(LabError, match="unpacks to more than 3000000 bytes"):
        pulled(registry.address("2.0"), into)
    assert [path.name for path in into.parent.iterdir()] == ["small"]


def test_a_layer_in_a_format_that_is_not_known_is_named(registry, into):
    kind = "application/vnd.oci.image.layer.v1.tar+zstd"
    registry.content.index("1.0", registry.content.image([TOP], kind=kind))
    assert _refused(registry.address("1.0"), into, "neither tar nor gzip").seen == kind


def test_a_layer_that_is_no_gzip_stream_is_refused(registry, into):
    image = registry.content.image([TOP])
    packed = gzip.compress(TOP)
    for broken in (b"no gzip", packed[:-12]):
        manifest = _changed_manifest(registry.content, image, layers=[registry.content.blob(broken, LAYER)])
        registry.content.index("1.0", {**image, **manifest})
        _refused(registry.address("1.0"), into, "no gzip stream")


@pytest.mark.parametrize("document", [b"no json", b"[]", b'{"mediaType": "x"}', b'{"config": {}, "layers": []}'])
def test_what_is_no_image_is_refused(registry, document):
    registry.content.manifests[digest(document)] = (MANIFEST, document)
    registry.content.tags["1.0"] = digest(document)
    with pytest.raises(LabError, match="is no OCI image"):
        find_image(registry.address("1.0"), AMD64)


@pytest.mark.parametrize("address", ["ghcr.io/akuity/kargo", "kargo:v1", "ghcr.io/../kargo:v1", "ghcr.io/a/b:v1/../x"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(LabError, match="no address of an image"):
        find_image(address, AMD64)


# Registries that cannot be had


def test_a_tag_that_is_not_there_makes_the_image_unavailable(registry):
    with pytest.raises(Unavailable, match=r"refused GET .*/manifests/1\.0 \(404\).*MANIFEST_UNKNOWN"):
        find_image(registry.address("1.0"), AMD64)


def test_a_blob_that_is_not_there_makes_the_image_unavailable(registry, into):
    registry.content.index("1.0", registry.content.image([TOP]))
    image = find_image(registry.address("1.0"), AMD64)
    registry.content.blobs.clear()
    with pytest.raises(Unavailable, match="cannot be pulled"):
        unpack_remote_image(image, AMD64, into, title="a test's image")
    assert not any(into.parent.iterdir())


def test_a_registry_that_cannot_be_reached_is_given_up_at_once_and_remembered_for_the_run():
    port = free_port_range(1)
    address = f"127.0.0.1:{port}/tests/thing:1.0"
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be reached"):
        find_image(address, AMD64)
    assert time.monotonic() - started < 5
    server = ImageRegistry(port=port)
    try:
        server.content.index("1.0", server.content.image([TOP]))
        with pytest.raises(Unavailable, match="cannot be reached"):
            find_image(address, AMD64)
        assert not server.asked
    finally:
        server.close()


def test_a_registry_behind_a_proxy_that_is_not_there_is_given_up_at_once_and_remembered(monkeypatch):
    port = free_port_range(1)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(
        Unavailable, match=r"^registry\.example cannot be reached \(\[Errno \d+\] Connection refused\)$"
    ):
        find_image("registry.example/tests/thing:1.0", AMD64)
    assert time.monotonic() - started < 5
    with socket.create_server(("127.0.0.1", port)) as proxy:
        proxy.settimeout(0)
        with pytest.raises(Unavailable, match="cannot be reached"):
            find_image("registry.example/tests/thing:1.0", AMD64)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_registry_that_swallows_what_is_sent_is_given_up_within_seconds_and_remembered():
    """As behind a firewall that drops packets: nothing is refused, and nothing comes back."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = f"127.0.0.1:{full.getsockname()[1]}"
        with contextlib.ExitStack() as waiting:
            for _ in range(3):
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            started = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                find_image(f"{address}/tests/thing:1.0", AMD64)
            assert time.monotonic() - started < 8
            started = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                find_image(f"{address}/tests/thing:1.0", AMD64)
            assert time.monotonic() - started < 1


def test_a_registry_that_accepts_and_says_nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(oci, "READ_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}/tests/thing:1.0"
        for limit in (5, 0.4):
            started = time.monotonic()
            with pytest.raises(Unavailable, match=r"cannot be reached \(.*timed out"):
                find_image(address, AMD64)
            assert time.monotonic() - started < limit


# Against Gitea's registry


def test_an_image_is_pulled_from_a_registry_that_others_wrote(gitea_server, into):  # noqa: F811
    """Gitea checks what is pushed, wants a token to read, and answers as the specification says."""
    content = Content()
    index = content.index("1.0", content.image(LAYERS), content.image([TOP], arch="arm64"), others=False)
    host = gitea_server.lab.registry
    _push(f"http://{host}", "lab/multi-layer", content, (gitea_server.ci_user, gitea_server.ci_token))
    image = pulled(f"{host}/lab/multi-layer:1.0", into)
    assert files(into) == FILES
    assert image.digest == index


def _push(url, repository, content, account):
    with httpx.Client(base_url=f"{url}/v2/{repository}/", auth=account, trust_env=False) as client:
        for name, data in content.blobs.items():
            answer = client.post("blobs/uploads/", params={"digest": name}, content=data)
            assert answer.status_code == 201, answer.text
        for name, (kind, data) in content.manifests.items():
            document = json.loads(data)
            if kind == INDEX:
                continue
            answer = client.put(f"manifests/{name}", content=data, headers={"Content-Type": kind})
            assert answer.status_code == 201, (document, answer.text)
        for tag, name in content.tags.items():
            kind, data = content.manifests[name]
            answer = client.put(f"manifests/{tag}", content=data, headers={"Content-Type": kind})
            assert answer.status_code == 201, answer.text


def _changed_manifest(content, image, **changes):
    document = json.loads(content.manifests[image["digest"]][1]) | changes
    return content.manifest(document)
