"""Release download and unpacking, against a local server with real archives."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from release_server import (
    VERSION,
    ReleaseServer,
    catalogue,
    program,
    program_entry,
    sha256,
    tar_gz,
    zipped,
)

from labkit.errors import LabError
from labkit.process import run
from labkit.toolchain import ensure_tools, find_tools
from labkit.toolchain.release import CONNECT_SECONDS
from labkit.toolchain.sources import content_sha256


@pytest.fixture
def server():
    server = ReleaseServer()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def plain(server: ReleaseServer, name: str, content: bytes | None = None) -> dict:
    """A release that is the program itself, with a checksum file of its own."""
    content = program(name) if content is None else content
    server.files[f"/{name}"] = content
    server.files[f"/{name}.sha256"] = sha256(content).encode()
    address = f"{server.address}/{name}"
    return {"address": address, "checksum": {"address": f"{address}.sha256", "format": "value"}}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nothing_kept(cache: Path) -> bool:
    return not (cache / "programs").exists() and not list(cache.glob("scratch/*"))


def test_a_plain_program_is_fetched_verified_run_and_cached(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello")))

    first = ensure_tools(catalogue=tools, cache=cache)
    assert first[0].source == "release"
    assert run([first.path("hello")]) == f"hello version v{VERSION}\n"

    second = ensure_tools(catalogue=tools, cache=cache)
    assert (second[0].source, second.path("hello")) == ("cache", first.path("hello"))
    assert server.count("/hello") == 1
    assert second[0].notes == ("from its release",)


def test_programs_of_one_tar_share_one_download(server, cache, tmp_path) -> None:
    archive = tar_gz({f"set-v{VERSION}/{name}": program(name) for name in ("one", "two", "three")})
    server.files["/set.tar.gz"] = archive
    server.files["/SHA256SUMS"] = f"{'0' * 64}  other.tar.gz\n{sha256(archive)}  set.tar.gz\n".encode()
    release = {
        "address": f"{server.address}/set.tar.gz",
        "member": "set-v{version}/{name}",
        "checksum": {"address": f"{server.address}/SHA256SUMS", "format": "lines"},
    }
    tools = catalogue(tmp_path, *(program_entry(name, release) for name in ("one", "two")))

    found = ensure_tools(catalogue=tools, cache=cache)

    assert [run([found.path(name)]) for name in ("one", "two")] == [
        f"one version v{VERSION}\n",
        f"two version v{VERSION}\n",
    ]
    assert server.count("/set.tar.gz") == 1
    assert not list(cache.rglob("three")), "only what was asked for is unpacked"


def test_a_zip_with_githubs_digest_behind_a_redirect(server, cache, tmp_path) -> None:
    archive = zipped({"folder/hello": program("hello")})
    server.files["/objects/1"] = archive
    server.redirects["/hello.zip"] = "/objects/1"
    assets = {"assets": [{"name": "hello.zip", "digest": f"sha256:{sha256(archive)}"}]}
    server.files["/api"] = json.dumps(assets).encode()
    release = {
        "address": f"{server.address}/hello.zip",
        "member": "folder/hello",
        "checksum": {"address": f"{server.address}/api", "format": "github-assets"},
    }
    found = ensure_tools(catalogue=catalogue(tmp_path, program_entry("hello", release)), cache=cache)
    assert run([found.path("hello")]) == f"hello version v{VERSION}\n"


def test_a_wrong_checksum_is_tried_again_then_refused(server, cache, tmp_path) -> None:
    release = plain(server, "hello")
    server.files["/hello"] = program("hello") + b"# changed on the way\n"
    tools = catalogue(tmp_path, program_entry("hello", release))

    with pytest.raises(LabError, match="not the file that its checksum names") as error:
        ensure_tools(catalogue=tools, cache=cache)

    assert sha256(server.files["/hello"]) in error.value.seen
    assert sha256(program("hello")) in error.value.seen
    assert server.count("/hello") == 2
    assert nothing_kept(cache)


def test_a_pinned_checksum_needs_no_checksum_file(server, cache, tmp_path) -> None:
    server.files["/hello"] = program("hello")
    release = {"address": f"{server.address}/hello", "checksum": {"sha256": sha256(program("hello"))}}
    ensure_tools(catalogue=catalogue(tmp_path, program_entry("hello", release)), cache=cache)
    assert server.asked == ["/hello"]


def test_a_download_that_breaks_off_once_is_tried_again(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello")))
    server.break_off["/hello"] = 1
    assert ensure_tools(catalogue=tools, cache=cache)[0].source == "release"
    assert server.count("/hello") == 2


def test_a_download_that_keeps_breaking_off_is_given_up(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello")))
    server.break_off["/hello"] = 99
    with pytest.raises(LabError, match="hello could not be downloaded") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert f"{server.address}/hello broke off" in error.value.seen
    assert nothing_kept(cache)


@pytest.mark.parametrize("lost", ["/hello", "/hello.sha256"])
def test_what_the_server_does_not_have_is_named(server, cache, tmp_path, lost) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello")))
    del server.files[lost]
    with pytest.raises(LabError) as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert f"{server.address}{lost} answered 404" in error.value.seen


def test_a_login_page_in_place_of_the_checksum_is_no_checksum(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello")))
    server.files["/hello.sha256"] = b"<html>Please log in</html>"
    with pytest.raises(LabError) as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "names no checksum for hello" in error.value.seen
    assert server.count("/hello") == 0


def test_the_next_address_is_tried(server, cache, tmp_path) -> None:
    gone = {"address": f"{server.address}/gone", "checksum": {"sha256": "0" * 64}}
    tools = catalogue(tmp_path, program_entry("hello", gone, plain(server, "hello")))
    assert ensure_tools(catalogue=tools, cache=cache)[0].notes == (f"{server.address}/hello",)


def test_an_unreachable_host_is_tried_once(cache, tmp_path) -> None:
    """The second program must be refused without a connection, even though the host is there by then."""
    port = closed_port()
    host = f"http://127.0.0.1:{port}"
    releases = [{"address": f"{host}/{name}", "checksum": {"sha256": sha256(program(name))}} for name in ("one", "two")]
    one, two = (program_entry(name, release) for name, release in zip(("one", "two"), releases, strict=True))
    tools = catalogue(tmp_path, one, two)

    started = time.monotonic()
    with pytest.raises(LabError, match="one could not be downloaded"):
        ensure_tools(["one"], catalogue=tools, cache=cache)
    assert time.monotonic() - started < CONNECT_SECONDS + 2

    late = ReleaseServer(port)
    try:
        late.files["/two"] = program("two")
        with pytest.raises(LabError, match="two could not be downloaded") as error:
            ensure_tools(["two"], catalogue=tools, cache=cache)
        assert "127.0.0.1 cannot be reached" in error.value.seen
        assert late.asked == []
    finally:
        late.close()


def test_a_host_that_never_answers_is_given_up_within_seconds(cache, tmp_path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        held = []
        for _ in range(4):  # fill the queue: further connections get no answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            held.append(filler)
        release = {"address": f"http://127.0.0.1:{port}/hello", "checksum": {"sha256": "0" * 64}}
        tools = catalogue(tmp_path, program_entry("hello", release))
        started = time.monotonic()
        with pytest.raises(LabError, match="hello could not be downloaded"):
            ensure_tools(catalogue=tools, cache=cache)
        assert time.monotonic() - started < CONNECT_SECONDS + 2
        for filler in held:
            filler.close()


def test_a_release_of_another_version_is_refused(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, program_entry("hello", plain(server, "hello", program("hello", "1.2.4"))))
    with pytest.raises(LabError, match=r"hello from .* is not version 1\.2\.3") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "v1.2.4" in error.value.seen
    assert nothing_kept(cache)


@pytest.mark.parametrize(
    ("asset", "content"),
    [
        ("set.tar.gz", tar_gz({"another": b""})),
        ("set.zip", zipped({"another": b""})),
        ("set.tar.gz", tar_gz({"hello": bytes(range(256)) * 500})[:900]),
        ("set.zip", zipped({"hello": program("hello")})[:60]),
        ("set.tar.gz", b"<html>no archive</html>"),
        ("set.zip", b""),
    ],
    ids=["tar-without-member", "zip-without-member", "half-tar", "half-zip", "page-as-tar", "empty-zip"],
)
def test_an_archive_that_does_not_unpack_is_named(server, cache, tmp_path, asset, content) -> None:
    server.files[f"/{asset}"] = content
    release = {
        "address": f"{server.address}/{asset}",
        "member": "hello",
        "checksum": {"sha256": sha256(content)},
    }
    with pytest.raises(LabError, match=f"{asset} does not unpack to hello"):
        ensure_tools(catalogue=catalogue(tmp_path, program_entry("hello", release)), cache=cache)
    assert nothing_kept(cache)


def test_a_missing_program_without_any_release_says_what_to_do(cache, tmp_path) -> None:
    entry = program_entry("hello", advice="install hello from its web site")
    with pytest.raises(LabError, match=r"Missing: hello \(1\.2\.3\)") as error:
        ensure_tools(catalogue=catalogue(tmp_path, entry), cache=cache)
    assert error.value.todo == "install hello from its web site"


def test_three_at_once_fetch_once(server, cache, tmp_path) -> None:
    catalogue(tmp_path, program_entry("hello", plain(server, "hello")))
    code = (
        "import sys; from pathlib import Path; from labkit.toolchain import *; "
        "print(ensure_tools(catalogue=load_catalogue(Path(sys.argv[1])), cache=Path(sys.argv[2])).path('hello'))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "tools.yaml"), str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    (path,) = {out.strip() for out, _ in said}
    assert run([path]) == f"hello version v{VERSION}\n"
    assert server.count("/hello") == 1


SOURCE_FILES = {
    "project-1.2.3/manifests/crds/a.yaml": b"a: 1\n",
    "project-1.2.3/manifests/crds/deep/b.yaml": b"b: 2\n",
    "project-1.2.3/manifests/crds/README.md": b"not wanted\n",
    "project-1.2.3/elsewhere/c.yaml": b"not wanted either\n",
}


def source_entry(server: ReleaseServer, tmp_path: Path, **more) -> dict:
    expected = tmp_path / "expected"
    (expected / "deep").mkdir(parents=True, exist_ok=True)
    (expected / "a.yaml").write_bytes(b"a: 1\n")
    (expected / "deep" / "b.yaml").write_bytes(b"b: 2\n")
    server.files["/v1.2.3.tar.gz"] = tar_gz(SOURCE_FILES)
    return {
        "name": "crds",
        "version": VERSION,
        "purpose": "tests sources",
        "module": "example.test/project",
        "archive": f"{server.address}/v{{version}}.tar.gz",
        "root": "manifests/crds",
        "paths": ["*.yaml"],
        "sha256": content_sha256(expected),
        **more,
    }


def test_only_the_listed_files_of_a_source_archive_are_kept(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, sources=(source_entry(server, tmp_path),))
    first = ensure_tools(catalogue=tools, cache=cache)
    folder = first.folder("crds")
    kept = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert kept == {"a.yaml": "a: 1\n", "deep/b.yaml": "b: 2\n"}
    assert first[0].source == "release"
    assert ensure_tools(catalogue=tools, cache=cache)[0].source == "cache"
    assert server.count("/v1.2.3.tar.gz") == 1


def test_files_that_are_not_the_pinned_ones_are_refused(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, sources=(source_entry(server, tmp_path),))
    changed = {**SOURCE_FILES, "project-1.2.3/manifests/crds/a.yaml": b"a: 2\n"}
    server.files["/v1.2.3.tar.gz"] = tar_gz(changed)
    with pytest.raises(LabError, match=r"files of crds 1\.2\.3 are not the pinned ones"):
        ensure_tools(catalogue=tools, cache=cache)
    assert find_tools(catalogue=tools, cache=cache)[0].source == "missing"


def test_files_outside_the_folder_are_never_written(server, cache, tmp_path) -> None:
    tools = catalogue(tmp_path, sources=(source_entry(server, tmp_path),))
    evil = {**SOURCE_FILES, "project-1.2.3/manifests/crds/../../../../../../evil.yaml": b"evil\n"}
    server.files["/v1.2.3.tar.gz"] = tar_gz(evil)
    ensure_tools(catalogue=tools, cache=cache)
    assert not list(tmp_path.rglob("evil.yaml"))


@pytest.mark.parametrize("built_with", ["bindata, sqlite", "sqlite"])
def test_files_that_a_program_embeds_are_not_fetched(server, cache, tmp_path, built_with) -> None:
    said = f"#!/bin/sh\necho 'hello version v{VERSION} : {built_with}'\n".encode()
    embedded = {"program": "hello", "pattern": "bindata"}
    tools = catalogue(
        tmp_path,
        program_entry("hello", plain(server, "hello", said)),
        sources=(source_entry(server, tmp_path, embedded=embedded),),
    )
    found = ensure_tools(catalogue=tools, cache=cache)
    assert found.has("crds") == ("bindata" not in built_with)
    if not found.has("crds"):
        assert server.count("/v1.2.3.tar.gz") == 0
        with pytest.raises(LabError, match="crds is embedded"):
            found.folder("crds")
