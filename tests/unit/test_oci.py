import contextlib
import gzip
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.delivery import wheels
from labkit.delivery.oci import build_image, unpack_layer
from labkit.errors import LabError

CREATED = "2026-01-02T03:04:05+00:00"
DOCKERFILE = """FROM scratch
WORKDIR /app
COPY tier/main.py tier/VERSION ./
COPY tier/pages ./pages/
ENV PORT=8080
EXPOSE 8080
ENTRYPOINT ["python3", "main.py"]
"""


@pytest.fixture
def source(tmp_path) -> Path:
    """A source repo with one tier."""
    tier = tmp_path / "source" / "tier"
    (tier / "pages" / "deep").mkdir(parents=True)
    (tier / "Dockerfile").write_text(DOCKERFILE)
    (tier / "VERSION").write_text("1.0.0\n")
    (tier / "main.py").write_text("print('hello')\n")
    (tier / "pages" / "deep" / "page.html").write_text("<p>\n")
    return tier.parent


def build(source, version="1.0.0", revision="a" * 40, created=CREATED):
    return build_image(source, "tier", version, revision, created=created, url="http://127.0.0.1/lab/demo-app")


def entries(image):
    with tarfile.open(fileobj=io.BytesIO(image.layer.data), mode="r:gz") as archive:
        return {entry.name: entry for entry in archive}


def test_content_and_configuration(source):
    image = build(source)
    assert sorted(entries(image)) == [
        "app", "app/VERSION", "app/main.py", "app/pages", "app/pages/deep", "app/pages/deep/page.html",
    ]  # fmt: skip
    config = json.loads(image.config.data)
    assert config["config"]["Entrypoint"] == ["python3", "main.py"]
    assert config["config"]["Env"] == ["PORT=8080"]
    assert config["config"]["WorkingDir"] == "/app"
    labels = {
        "org.opencontainers.image.title": "tier",
        "org.opencontainers.image.version": "1.0.0",
        "org.opencontainers.image.revision": "a" * 40,
        "org.opencontainers.image.created": CREATED,
        "org.opencontainers.image.source": "http://127.0.0.1/lab/demo-app",
    }
    assert config["config"]["Labels"] == labels
    assert json.loads(image.manifest.data)["annotations"] == labels


def test_the_same_commit_gives_the_same_digest_wherever_and_whenever(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "elsewhere")
    for path in copy.rglob("*"):
        os.utime(path, (time.time() + 1000, 12345))
        path.chmod(0o700)
    (copy / "tier" / "__pycache__").mkdir()
    (copy / "tier" / "pages" / "__pycache__").mkdir()
    (copy / "tier" / "pages" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert build(copy).digest == build(source).digest


def test_another_commit_with_the_same_files_has_the_same_content(source):
    first, second = build(source), build(source, revision="b" * 40, created="2027-01-01T00:00:00Z")
    assert first.digest != second.digest
    assert first.content_digest == second.content_digest
    (source / "tier" / "main.py").write_text("print('bye')\n")
    assert build(source).content_digest != first.content_digest


def test_the_image_says_which_version_it_is(source):
    with tarfile.open(fileobj=io.BytesIO(build(source, "1.0.0-blue.g1234567").layer.data), mode="r:gz") as archive:
        assert archive.extractfile("app/VERSION").read() == b"1.0.0-blue.g1234567\n"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_are_refused_so_that_no_file_of_the_builder_gets_in(source, tmp_path, what):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    if what == "file":
        (source / "tier" / "pages" / "key").symlink_to(secret / "key")
    else:
        shutil.rmtree(source / "tier" / "pages")
        (source / "tier" / "pages").symlink_to(secret)
    with pytest.raises(LabError, match="is a link"):
        build(source)


def test_a_missing_file_is_named(source):
    (source / "tier" / "main.py").unlink()
    with pytest.raises(LabError, match=r"copies tier/main\.py, which is not there"):
        build(source)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry, content in members:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, target, 0o6777
    return entry, b"x" if kind == tarfile.REGTYPE else b""


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("a/../../evil")],
        [member("/evil")],
        [member("link", tarfile.SYMTYPE, "/etc"), member("link/evil")],
        [member("link", tarfile.SYMTYPE, "..")],
        [member("link", tarfile.LNKTYPE, "/etc/passwd")],
        [member("fine"), member("link", tarfile.LNKTYPE, "fine")],
        [member("null", tarfile.CHRTYPE)],
        [member("disk", tarfile.BLKTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("a/.wh.b")],
        [member("a"), member("a/b")],
        [member("a", tarfile.DIRTYPE), member("a")],
    ],
    ids=lambda members: " ".join(f"{entry.name}:{entry.type.decode()}" for entry, _ in members),
)
def test_malicious_layers_are_refused_and_write_nothing_outside(tmp_path, members):
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    with pytest.raises(LabError):
        unpack_layer(layer(*members), root)
    assert [path for path in tmp_path.rglob("*") if not path.is_relative_to(root) and path.name != "deep"] == []
    assert not [path for path in root.rglob("*") if path.is_symlink()]


def test_what_is_built_is_what_is_unpacked(source, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    unpack_layer(gzip.decompress(build(source).layer.data), root)
    found = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert found == {
        "app/VERSION": "1.0.0\n",
        "app/main.py": "print('hello')\n",
        "app/pages/deep/page.html": "<p>\n",
    }


def test_special_rights_are_dropped(tmp_path):
    unpack_layer(layer(member("tool")), tmp_path)
    assert (tmp_path / "tool").stat().st_mode & 0o7777 == 0o700


NAMES = st.text(st.sampled_from("a./\\~ \0é"), min_size=1, max_size=12)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=4))
def test_no_layer_writes_outside(tmp_path, members):
    root = tmp_path / "outer" / "root"
    shutil.rmtree(tmp_path / "outer", ignore_errors=True)
    root.mkdir(parents=True)
    try:
        data = layer(*(member(name, kind, target) for name, kind, target in members))
    except ValueError:
        return
    with contextlib.suppress(LabError):
        unpack_layer(data, root)
    assert {path.name for path in (tmp_path / "outer").iterdir()} == {"root"}
    assert {path.name for path in tmp_path.iterdir()} == {"outer"}


@given(st.binary(max_size=2000))
def test_no_bytes_break_the_unpacking(tmp_path_factory, data):
    with contextlib.suppress(LabError):
        unpack_layer(data, tmp_path_factory.mktemp("root"))


def wheel(folder: Path, *names: str) -> Path:
    file = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file


def test_a_wheels_modules_are_taken_and_its_scripts_left(tmp_path):
    into = tmp_path / "lib"
    into.mkdir()
    names = (
        "thing/__init__.py",
        "thing-1.0.data/purelib/more.py",
        "thing-1.0.data/scripts/run",
        "thing-1.0.dist-info/RECORD",
    )
    wheels._unpack(wheel(tmp_path, *names), into)
    found = sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())
    assert found == ["more.py", "thing-1.0.dist-info/RECORD", "thing/__init__.py"]


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "thing-1.0.data/purelib/../../../evil.py"])
def test_a_wheel_that_leads_outside_is_refused(tmp_path, name):
    into = tmp_path / "lib"
    into.mkdir()
    with pytest.raises(LabError, match="outside of itself"):
        wheels._unpack(wheel(tmp_path, name), into)
    assert not list(tmp_path.rglob("evil.py"))
