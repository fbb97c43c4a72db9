"""Programs built from Go modules, and sources taken from them: a tiny module, offline, with the real Go."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
from release_server import VERSION, ReleaseServer, catalogue, program_entry

from labkit.errors import LabError
from labkit.process import run
from labkit.toolchain import ensure_tools
from labkit.toolchain.sources import content_sha256
from labkit.wait import wait_for

MAIN = """package main

import "os"

var version = "unknown"

func main() { os.Stdout.WriteString(os.Args[0][len(os.Args[0])-3:] + " version v" + version + "\\n") }
"""
BUILD = {"name": "tiny", "folder": "module", "cgo": False, "minutes": 0.2, "diskGiB": 0.1}


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def hostile_settings(monkeypatch, tmp_path) -> None:
    """Settings of a user that must not leak into builds, and a home that must stay empty; no network."""
    monkeypatch.setenv("GOFLAGS", "-mod=mod -race")
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOWORK", str(tmp_path / "no-such-go.work"))
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def module(folder: Path, **mains: str) -> None:
    """The lab's module, and the module it requires, which has a main package for each keyword."""
    for name, text in mains.items():
        place = folder / "upstream" / "cmd" / name
        place.mkdir(parents=True)
        (place / "main.go").write_text(text)
    (folder / "upstream" / "go.mod").write_text("module example.test/upstream\n\ngo 1.24\n")
    (folder / "module").mkdir()
    (folder / "module" / "go.mod").write_text(
        "module labkit.local/tiny\n\ngo 1.24\n\nrequire example.test/upstream v1.2.3\n\n"
        "replace example.test/upstream => ../upstream\n"
    )


def built(name: str, *releases: dict, output: str = "") -> dict:
    """A catalogue entry of a program that the tiny module builds."""
    package = f"example.test/upstream/cmd/{output or name}"
    return program_entry(name, *releases, build={"name": "tiny", "package": package, "output": output or name})


def test_programs_without_a_reachable_release_are_built_by_one_go_build(cache, tmp_path) -> None:
    module(tmp_path, one=MAIN, server=MAIN)
    server = ReleaseServer()
    gone = {"address": f"{server.address}/one", "checksum": {"sha256": "0" * 64}}
    build = {**BUILD, "variables": {"main.version": VERSION}}
    tools = catalogue(tmp_path, built("one", gone), built("two", output="server"), builds=(build,))

    found = ensure_tools(catalogue=tools, cache=cache)
    server.close()

    assert server.asked == ["/one"]
    assert [(tool.name, tool.version, tool.source) for tool in found] == [
        ("one", VERSION, "module"),
        ("two", VERSION, "module"),
    ]
    assert [run([found.path(name)]) for name in ("one", "two")] == [
        f"one version v{VERSION}\n",
        f"two version v{VERSION}\n",
    ]
    assert ensure_tools(catalogue=tools, cache=cache)[0].notes == ("from its module",)
    assert sorted(entry.name for entry in cache.iterdir()) == ["lock", "programs", "scratch"]
    assert not (tmp_path / "home").exists(), "a build wrote into the user's home"
    assert sorted(entry.name for entry in (tmp_path / "module").iterdir()) == ["go.mod"]


def test_a_build_that_fails_shows_what_go_said(cache, tmp_path) -> None:
    module(tmp_path, one='package main\n\nimport "unsafe"\n\nfunc main() { undefined(unsafe.Sizeof(0)) }\n')
    tools = catalogue(tmp_path, built("one"), builds=({**BUILD, "variables": {}},))
    with pytest.raises(LabError, match="`go build -v …` failed") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "undefined: undefined" in error.value.seen
    assert "try again" in error.value.todo
    assert not (cache / "programs").exists()


def test_a_module_that_go_sum_does_not_name_is_not_built(cache, tmp_path) -> None:
    module(tmp_path, one=MAIN)
    (tmp_path / "module" / "go.mod").write_text(
        "module labkit.local/tiny\n\ngo 1.24\n\nrequire example.test/upstream v1.2.3\n"
    )
    tools = catalogue(tmp_path, built("one"), builds=({**BUILD, "variables": {}},))
    with pytest.raises(LabError, match="`go list -deps …` failed") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "example.test/upstream" in error.value.seen


def test_a_missing_c_compiler_is_said_before_anything_is_built(cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    build = {**BUILD, "cgo": True, "variables": {}}
    tools = catalogue(tmp_path, built("one"), builds=(build,))
    with pytest.raises(LabError, match="needs a C compiler, and there is no no-such-compiler") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "gcc or clang" in error.value.todo


def test_too_little_disk_is_said_before_anything_is_built(cache, tmp_path) -> None:
    build = {**BUILD, "diskGiB": 10**7, "variables": {}}
    with pytest.raises(LabError, match="Building tiny needs 1e\\+07 GiB of disk space") as error:
        ensure_tools(catalogue=catalogue(tmp_path, built("one"), builds=(build,)), cache=cache)
    assert "LABKIT_CACHE" in error.value.todo


def test_an_old_go_is_not_used_and_the_way_out_is_named(cache, tmp_path, monkeypatch) -> None:
    old = tmp_path / "old" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    tools = catalogue(tmp_path, built("one"), builds=({**BUILD, "cgo": True, "variables": {}},))
    with pytest.raises(LabError, match="pip install") as error:
        ensure_tools(catalogue=tools, cache=cache)
    assert "no-such-requirements.txt" in error.value.seen
    assert error.value.todo == "install Go 1.26 or newer and put it on PATH"


def test_an_interrupted_build_ends_the_compiler_and_can_be_taken_up_again(cache, tmp_path) -> None:
    module(tmp_path, one=MAIN)
    build = {**BUILD, "variables": {"main.version": VERSION}}
    tools = catalogue(tmp_path, built("one"), builds=(build,))
    code = (
        "import sys; from pathlib import Path; from labkit.toolchain import *; "
        "ensure_tools(catalogue=load_catalogue(Path(sys.argv[1])), cache=Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "tools.yaml"), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def compilers() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if child.name() == "compile"]

    wait_for("a compiler to run", compilers, timeout=60, interval=0.02, tolerate=(psutil.Error,))
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)

    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    wait_for(
        "Go and its compilers to end",
        lambda: [child.pid for child in family if child.is_running() and child.status() != "zombie"],
        lambda alive: not alive,
        timeout=10,
        tolerate=(psutil.NoSuchProcess,),
    )
    assert ensure_tools(catalogue=tools, cache=cache)[0].source == "module"


def module_proxy(folder: Path, name: str, files: dict[str, bytes]) -> str:
    """A module proxy in a folder (https://go.dev/ref/mod#goproxy-protocol); returns its address."""
    place = folder / name / "@v"
    place.mkdir(parents=True)
    (place / "list").write_text(f"v{VERSION}\n")
    (place / f"v{VERSION}.info").write_text(json.dumps({"Version": f"v{VERSION}"}))
    (place / f"v{VERSION}.mod").write_text(f"module {name}\n")
    with zipfile.ZipFile(place / f"v{VERSION}.zip", "w") as archive:
        for path, content in {"go.mod": f"module {name}\n".encode(), **files}.items():
            archive.writestr(f"{name}@v{VERSION}/{path}", content)
    return folder.as_uri()


def test_sources_come_from_the_module_when_the_archive_cannot_be_had(cache, tmp_path, monkeypatch) -> None:
    files = {"crds/a.yaml": b"a: 1\n", "crds/b.txt": b"not wanted\n", "c.yaml": b"not wanted either\n"}
    monkeypatch.setenv("GOPROXY", module_proxy(tmp_path / "proxy", "example.test/project", files))
    monkeypatch.setenv("GOSUMDB", "off")
    expected = tmp_path / "expected"
    expected.mkdir()
    (expected / "a.yaml").write_bytes(b"a: 1\n")
    server = ReleaseServer()
    entry = {
        "name": "crds",
        "version": VERSION,
        "purpose": "tests sources",
        "module": "example.test/project",
        "archive": f"{server.address}/v{{version}}.tar.gz",
        "root": "crds",
        "paths": ["*.yaml"],
        "sha256": content_sha256(expected),
    }
    found = ensure_tools(catalogue=catalogue(tmp_path, sources=(entry,)), cache=cache)
    server.close()
    assert found[0].source == "module"
    assert [file.name for file in found.folder("crds").iterdir()] == ["a.yaml"]
    assert server.asked == [f"/v{VERSION}.tar.gz"]
    assert not (tmp_path / "home").exists(), "Go wrote into the user's home"
