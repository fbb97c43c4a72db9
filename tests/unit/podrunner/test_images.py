"""How an image is named, unpacked once, and copied for each pod."""

import pytest
from _images import ImageRegistry, file, layer
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.podrunner.images import ImageCache, InvalidImageName, Reference, copy_root, parse_reference
from labkit.podrunner.sandbox import Sandbox
from labkit.process import PYTHON

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:5000/lab/web:1.2", Reference("127.0.0.1:5000", "lab/web", "1.2", "")),
        ("localhost/web", Reference("localhost", "web", "latest", "")),
        (f"registry.example/a/b@{DIGEST}", Reference("registry.example", "a/b", "latest", DIGEST)),
        (f"host:1/a:2@{DIGEST}", Reference("host:1", "a", "2", DIGEST)),
    ],
)
def test_names(text, wanted):
    assert parse_reference(text) == wanted


@pytest.mark.parametrize("text", ["", "web", "lab/web", "host:1/", "host:1/A", "host:1/a:", "host:1/a@sha256:12"])
def test_what_is_no_name(text):
    with pytest.raises(InvalidImageName):
        parse_reference(text)


@given(st.text())
def test_any_text_is_either_understood_or_refused(text):
    try:
        found = parse_reference(text)
    except InvalidImageName:
        return
    assert text.startswith(f"{found.host}/{found.repository}")


@pytest.fixture
def registry():
    found = ImageRegistry()
    found.wants_token = False
    yield found
    found.close()


def test_an_image_is_unpacked_once_and_every_pod_has_its_own_copy(registry, tmp_path, run):
    content = layer(file("app/main.py", "x = 1\n"), file("app/data", "one"))
    registry.content.tags["1"] = registry.content.image([content])["digest"]
    cache = ImageCache(tmp_path / "images", PYTHON)
    name = registry.address("1")
    assert cache.find(name) is None
    image = run(cache.pull(name))
    assert image.image_id == f"{registry.host}/tests/thing@{registry.content.tags['1']}"
    assert list(image.root.glob("app/__pycache__/main.*.pyc")), "modules are compiled once, not by each pod"
    blobs = [path for path, _ in registry.asked if "/blobs/" in path]
    assert run(cache.pull(name)) == image == cache.find(name)
    assert not [path for path, _ in registry.asked if "/blobs/" in path][len(blobs) + 1 :], "downloaded again"
    for number in (1, 2):
        copy_root(image, tmp_path / f"pod-{number}")
    (tmp_path / "pod-1" / "app" / "data").write_text("two")
    assert (tmp_path / "pod-2" / "app" / "data").read_text() == "one"
    assert (image.root / "app" / "data").read_text() == "one"


@pytest.mark.parametrize("read_only", [True, False])
def test_a_root_that_is_read_only_shares_its_files_and_no_other_does(registry, tmp_path, run, read_only):
    registry.content.tags["1"] = registry.content.image([layer(file("app/main.py", "x = 1\n"))])["digest"]
    image = run(ImageCache(tmp_path / "images", PYTHON).pull(registry.address("1")))
    sandbox = Sandbox(tmp_path / "pod")
    (sandbox.folder / "volumes" / "data").mkdir(parents=True)
    container = {
        "name": "app",
        "volumeMounts": [{"name": "data", "mountPath": "/app/data"}],
        "securityContext": {"readOnlyRootFilesystem": read_only},
    }
    for _ in range(2):  # a container that is started again has a fresh one
        root = sandbox.prepare_root(container, image)
        (root / "app" / "data" / "row").write_text("kept")
        program, original = root / "app" / "main.py", image.root / "app" / "main.py"
        assert program.samefile(original) == read_only
        assert bool(program.stat().st_mode & 0o200) != read_only
    assert (sandbox.folder / "volumes" / "data" / "row").read_text() == "kept"
    assert original.read_text() == "x = 1\n"


def test_an_image_that_leads_outside_leaves_nothing_behind(registry, tmp_path, run):
    registry.content.tags["1"] = registry.content.image([layer(file("../outside"))])["digest"]
    with pytest.raises(LabError, match="leads outside"):
        run(ImageCache(tmp_path / "images", PYTHON).pull(registry.address("1")))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_image_that_does_not_exist(registry, tmp_path, run):
    with pytest.raises(LabError, match="not found"):
        run(ImageCache(tmp_path / "images", PYTHON).pull(registry.address("1")))
