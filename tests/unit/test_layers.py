"""Layers of images that others publish: one over the other as OCI says, and nothing outside."""

import contextlib
import io
import os
import shutil
import tarfile

import pytest
from _images import file, folder, hardlink, layer, special, symlink
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.delivery.layers import apply_layer, assert_links_stay_inside, file_in
from labkit.errors import LabError


@pytest.fixture
def root(tmp_path):
    """The folder of an image, with something outside that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    place = tmp_path / "image"
    place.mkdir()
    yield place
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "image"}
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


def unpacked(root, *layers):
    """Apply layers, each a list of members."""
    for members in layers:
        apply_layer(io.BytesIO(layer(*members)), root)
    return tree(root)


def tree(root):
    """Every file by its path, with its content; folders that hold nothing end in a slash."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"→ {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
        elif not any(path.iterdir()):
            found[f"{name}/"] = ""
    return found


def test_later_layers_cover_earlier_ones(root):
    assert unpacked(root, [file("a/one", "1"), file("a/two", "2")], [file("a/two", "new"), file("b", "3")]) == {
        "a/one": "1",
        "a/two": "new",
        "b": "3",
    }


@pytest.mark.parametrize(
    ("below", "above", "left"),
    [
        ([file("a/b/c")], [file("a", "now a file")], {"a": "now a file"}),
        ([file("a")], [folder("a"), file("a/b", "in it")], {"a/b": "in it"}),
        ([folder("x"), symlink("a", "x")], [folder("a"), file("a/b", "in it")], {"a/b": "in it", "x/": ""}),
        ([file("x", "kept"), symlink("a", "x")], [file("a", "new")], {"a": "new", "x": "kept"}),
        ([file("a/b", "kept")], [folder("a")], {"a/b": "kept"}),
    ],
    ids=["file over folder", "folder over file", "folder over link", "file over link", "folder over folder"],
)
def test_what_is_covered_goes(root, below, above, left):
    assert unpacked(root, below, above) == left


# Whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts


def test_a_whiteout_deletes_a_file_or_a_folder_of_the_layers_below(root):
    below = [file("a/gone"), file("a/kept", "kept"), file("b/deep/gone"), symlink("c", "a")]
    assert unpacked(root, below, [file("a/.wh.gone"), file(".wh.b"), file(".wh.c")]) == {"a/kept": "kept"}


@pytest.mark.parametrize("first", [True, False], ids=["whiteout first", "whiteout last"])
def test_a_whiteout_hides_nothing_of_its_own_layer(root, first):
    pair = [file("a/.wh.same"), file("a/same", "new")]
    assert unpacked(root, [file("a/same", "old")], pair if first else pair[::-1]) == {"a/same": "new"}


@pytest.mark.parametrize("first", [True, False], ids=["whiteout first", "whiteout last"])
def test_an_opaque_whiteout_hides_all_below_and_nothing_of_its_own_layer(root, first):
    pair = [file("a/.wh..wh..opq"), file("a/new", "new")]
    below = [file("a/old"), file("a/deep/old"), file("b", "kept")]
    assert unpacked(root, below, pair if first else pair[::-1]) == {"a/new": "new", "b": "kept"}


def test_whiteouts_of_nothing_and_bookkeeping_are_no_files(root):
    odd = [file(".wh.never"), file("no/such/.wh.folder"), file("no/.wh..wh..opq"), file(".wh..wh.plnk")]
    assert unpacked(root, [file("a", "kept")], odd) == {"a": "kept"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", "a/b/.wh.."])
def test_a_whiteout_of_what_is_no_name_is_refused(root, name):
    with pytest.raises(LabError, match="deletes what is no name"):
        unpacked(root, [file("a/b/c")], [file(name)])
    assert tree(root) == {"a/b/c": "x"}


def test_a_whiteout_below_a_link_stays_inside(root):
    (root / "outside").mkdir()
    (root / "outside" / "secret").write_text("the image's own")
    unpacked(root, [symlink("link", "../outside")], [file("link/.wh.secret")])
    assert tree(root) == {"link": "→ ../outside", "outside/": ""}


# Links


def test_an_absolute_link_leads_to_the_images_root(root):
    unpacked(root, [symlink("usr/bin/sh", "/bin/busybox"), file("bin/busybox", "box", 0o755)])
    assert (root / "usr/bin/sh").read_text() == "box"
    assert os.readlink(root / "usr/bin/sh") == "../../bin/busybox"


def test_what_is_written_through_an_absolute_link_stays_inside(root, tmp_path):
    target = str(tmp_path / "outside")
    unpacked(root, [symlink("link", target), file("link/secret", "evil")], [file("link/more", "evil")])
    assert tree(root) == {
        "link": f"→ {target.lstrip('/')}",
        f"{target.lstrip('/')}/secret": "evil",
        f"{target.lstrip('/')}/more": "evil",
    }
    assert_links_stay_inside(root)


@pytest.mark.parametrize("target", ["..", "../outside", "x/../../outside", "../../../../../../../../etc"])
def test_a_relative_link_out_is_not_followed_and_then_refused(root, target):
    unpacked(root, [symlink("link", target)], [file("link/secret", "evil")])
    assert (root / "link").is_symlink()
    with pytest.raises(LabError, match="a link that leads outside: 'link'"):
        assert_links_stay_inside(root)


def test_a_link_that_leads_out_by_way_of_others_is_refused(root):
    """Each looks harmless by itself: the way up is longer than the way down that it really goes."""
    unpacked(root, [symlink("here", "."), symlink("link", "here/here/here/../../../outside")])
    with pytest.raises(LabError, match="leads outside"):
        assert_links_stay_inside(root)


def test_links_in_a_circle_end(root):
    with pytest.raises(LabError, match="in a circle"):
        unpacked(root, [symlink("a", "b"), symlink("b", "a"), file("a/file")])


def test_links_that_lead_nowhere_are_let_be(root):
    unpacked(root, [symlink("etc/mtab", "../proc/mounts"), symlink("dev/stdout", "/proc/self/fd/1")])
    assert_links_stay_inside(root)
    assert tree(root) == {"etc/mtab": "→ ../proc/mounts", "dev/stdout": "→ ../proc/self/fd/1"}


def test_a_hard_link_is_another_name_of_a_file_in_the_image(root):
    unpacked(root, [file("bin/git", "git"), hardlink("bin/git-add", "bin/git")], [hardlink("git", "/bin/git")])
    assert tree(root) == {"bin/git": "git", "bin/git-add": "git", "git": "git"}
    assert (root / "git").stat().st_nlink == 3


@pytest.mark.parametrize("target", ["../outside/secret", "a/../../outside/secret", "", "no/such", "a", "/etc/passwd"])
def test_a_hard_link_to_what_is_no_file_of_the_image_is_refused(root, target):
    with pytest.raises(LabError):
        unpacked(root, [folder("a"), hardlink("link", target)])
    assert not os.path.lexists(root / "link")


def test_a_hard_link_through_a_link_out_is_refused(root, tmp_path):
    for way in ("../outside", str(tmp_path / "outside")):
        with pytest.raises(LabError, match="no file in it"):
            unpacked(root, [symlink("way", way), hardlink("link", "way/secret")])


def test_a_hard_link_to_itself_leaves_the_file(root):
    assert unpacked(root, [file("a", "kept"), hardlink("a", "a")]) == {"a": "kept"}


# What an image may not bring


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/.."])
def test_an_entry_that_leads_outside_is_refused_before_anything_is_written(root, name):
    with pytest.raises(LabError, match="leads outside"):
        unpacked(root, [file("fine"), file(name)])
    assert tree(root) == {}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_not_made(root, kind):
    """Base images bring a /dev; making one would take root, and nothing uses it."""
    assert unpacked(root, [file("a", "1"), special("dev/null", kind)]) == {"a": "1"}


def test_special_rights_are_dropped_and_the_owner_can_always_delete(root):
    unpacked(root, [file("tool", mode=0o6755), file("dark", mode=0), special("cellar", tarfile.DIRTYPE, mode=0o1000)])
    modes = {path.name: path.stat().st_mode & 0o7777 for path in root.iterdir()}
    assert modes == {"tool": 0o755, "dark": 0o600, "cellar": 0o700}


@pytest.mark.parametrize("data", [b"no tar", b"\0" * 511 + b"x", layer(file("a", "y" * 4000))[:2000]])
def test_what_is_no_archive_is_refused(root, data):
    with pytest.raises(LabError, match="no tar archive"):
        apply_layer(io.BytesIO(data), root)


# Files of an image


def test_a_file_is_found_by_its_path_in_the_image(root):
    unpacked(root, [file("usr/local/bin/kargo", "program"), symlink("opt", "/usr/local")])
    assert file_in(root, "usr/local/bin/kargo").read_text() == "program"
    assert file_in(root, "/opt/bin/kargo") == root / "usr/local/bin/kargo"


@pytest.mark.parametrize("path", ["no/such", "folder", "out", "out/secret", "../outside/secret", "/"])
def test_what_is_no_file_of_the_image_is_named(root, path):
    unpacked(root, [folder("folder"), symlink("out", "../outside")])
    with pytest.raises(LabError, match="holds no file"):
        file_in(root, path)


NAMES = st.text(st.sampled_from("ab./\\ \0é"), min_size=1, max_size=10) | st.sampled_from(
    [".wh.a", "a/.wh..wh..opq", ".wh...", "../outside", "outside/secret"]
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
LAYERS = st.lists(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=5), max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(LAYERS)
def test_no_layers_write_or_delete_outside(tmp_path, layers):
    outer = tmp_path / "outer"
    shutil.rmtree(outer, ignore_errors=True)
    (outer / "outside").mkdir(parents=True)
    (outer / "outside" / "secret").write_text("secret")
    (outer / "root").mkdir()
    with contextlib.suppress(LabError, ValueError):
        for members in layers:
            data = layer(*(special(name, kind, target) for name, kind, target in members))
            apply_layer(io.BytesIO(data), outer / "root")
    assert {path.name for path in outer.iterdir()} == {"outside", "root"}
    assert [path.name for path in (outer / "outside").iterdir()] == ["secret"]
    assert (outer / "outside" / "secret").stat().st_nlink == 1
    assert {path.name for path in tmp_path.iterdir()} == {"outer"}
