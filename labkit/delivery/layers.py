"""Unpack an image's layers into a folder, one over the other, without being root.

Nothing is written outside that folder, whatever the layers hold. The image's root is the folder's: that is where an
absolute link leads. Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from labkit.errors import LabError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40  # as Linux counts, before a path is a loop


def apply_layer(layer: BinaryIO, root: Path) -> None:
    """Put one layer over what earlier ones left.

    Whiteouts delete what is below, wherever in the layer they stand. Owners are not kept, nor special rights; devices
    and pipes are left out, because only root could make them, and images bring a /dev that nothing here uses.

    Args:
        layer: The layer, a tar archive that is not compressed.
        root: The folder.

    Raises:
        LabError: An entry leads outside, or the layer is no such archive; names the entry.
    """
    try:
        with tarfile.open(fileobj=layer, mode="r:") as archive:
            entries = [(_path(entry), entry) for entry in archive]
            for path, _ in entries:
                if path.name.startswith(_WHITEOUT):
                    _delete_below(path, root)
            for path, entry in entries:
                if path.parts and not path.name.startswith(_WHITEOUT):
                    _place(archive, entry, path, root)
    except (tarfile.TarError, UnicodeError, OSError, ValueError) as error:
        raise LabError("A layer is no tar archive that can be unpacked", seen=str(error)) from error


def file_in(root: Path, path: str) -> Path:
    """A file of an unpacked image.

    Raises:
        LabError: There is none, or it is no plain file.
    """
    found = _inside(root, PurePosixPath(path))
    if not found.is_file():
        raise LabError(f"The image holds no file {path}")
    return found


def assert_links_stay_inside(root: Path) -> None:
    """Refuse an unpacked image with a link that leads out of its folder when it is followed from here.

    Raises:
        LabError: There is one; names it.
    """
    base = os.path.realpath(root)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            entry = os.path.join(folder, name)  # noqa: PTH118 (an image has thousands)
            if os.path.islink(entry) and not Path(os.path.realpath(entry)).is_relative_to(base):  # noqa: PTH114
                raise LabError(
                    f"A layer has a link that leads outside: {os.path.relpath(entry, root)!r}",
                    seen=os.readlink(entry),  # noqa: PTH115
                )


def _path(entry: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\0" in entry.name:
        raise LabError(f"A layer has an entry that leads outside: {entry.name!r}")
    return path


def _inside(root: Path, path: PurePosixPath) -> Path:
    """Where a path of the image is, its links followed as if `root` were the root of everything."""
    pending = list(reversed(path.parts))
    found: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            found = found[:-1]
        elif part.startswith("/"):
            found = []
        else:
            candidate = root.joinpath(*found, part)
            if candidate.is_symlink():
                links += 1
                if links > _MAX_LINKS:
                    raise LabError(f"A layer's links lead in a circle: {str(path)!r}")
                pending.extend(reversed(PurePosixPath(candidate.readlink()).parts))
            else:
                found.append(part)
    return root.joinpath(*found)


def _delete_below(path: PurePosixPath, root: Path) -> None:
    folder = _inside(root, path.parent)
    if path.name == _OPAQUE:
        for child in folder.iterdir() if folder.is_dir() else ():
            _remove(child)
        return
    name = path.name.removeprefix(_WHITEOUT)
    if name in ("", ".", ".."):
        raise LabError(f"A layer deletes what is no name: {str(path)!r}")
    if not name.startswith(_WHITEOUT):  # other names with two such prefixes are bookkeeping of a file system
        _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _place(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: PurePosixPath, root: Path) -> None:
    folder = _inside(root, path.parent)
    target = folder / path.name
    if entry.isdir():
        if not target.is_dir() or target.is_symlink():
            _remove(target)
            target.mkdir(parents=True)
        target.chmod(0o700 | entry.mode & 0o055)
        return
    if entry.ischr() or entry.isblk() or entry.isfifo():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if entry.islnk():
        _link(_linked(entry, root), target)
    elif entry.issym():
        _remove(target)
        target.symlink_to(_link_target(entry, folder, root))
    elif entry.isreg() and not entry.issparse():
        _remove(target)
        content = archive.extractfile(entry)
        assert content is not None
        with content, target.open("xb") as out:
            shutil.copyfileobj(content, out)
        target.chmod(0o600 | entry.mode & 0o155)
    else:
        raise LabError(f"A layer has an entry that is no file, folder or link: {entry.name!r}")


def _link(existing: Path, target: Path) -> None:
    if os.path.lexists(target) and os.path.samestat(existing.lstat(), target.lstat()):
        return
    _remove(target)
    os.link(existing, target, follow_symlinks=False)


def _linked(entry: tarfile.TarInfo, root: Path) -> Path:
    """The file of the image that a hard link is another name of."""
    path = PurePosixPath(entry.linkname)
    if ".." in path.parts:
        raise LabError(f"A layer has an entry that leads outside: {entry.name!r}", seen=entry.linkname)
    existing = _inside(root, path.parent) / path.name
    if not (existing.is_symlink() or existing.is_file()):
        raise LabError(f"A layer has a link to what is no file in it: {entry.name!r}", seen=entry.linkname)
    return existing


def _link_target(entry: tarfile.TarInfo, folder: Path, root: Path) -> str:
    """A link's target as it is kept: an absolute one is made relative, for its root is the image's."""
    if not entry.linkname.startswith("/"):
        return entry.linkname
    target = root / posixpath.normpath(entry.linkname).lstrip("/")
    return os.path.relpath(target, folder)
