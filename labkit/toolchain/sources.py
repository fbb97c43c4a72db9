"""Files of upstream source trees: from the tag's archive, else the Go module; verified by content."""

from __future__ import annotations

import hashlib
import shutil
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from labkit.errors import LabError
from labkit.progress import console
from labkit.toolchain.cache import Cache, Origin
from labkit.toolchain.catalogue import Source
from labkit.toolchain.golang import Builder
from labkit.toolchain.release import Unavailable, download, unpack_tree


def content_sha256(folder: Path) -> str:
    """One SHA-256 for all files below a folder: over a line `hash  path` for each, sorted by path."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{content}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def ensure_source(source: Source, cache: Cache, builder: Builder) -> Origin:
    """Put a source's files into the cache.

    Raises:
        LabError: Neither archive nor module can be had, or the files are not the pinned ones.
    """
    with cache.scratch() as scratch:
        try:
            archive = download(source.archive, scratch, title=f"{source.name} {source.version}")
        except Unavailable as reason:
            if not source.module:
                raise LabError(
                    f"{source.name} {source.version} could not be downloaded",
                    seen=str(reason),
                    todo=f"try again where {source.archive} can be reached, or leave out what needs it",
                ) from reason
            console.print(f"{source.name}: {reason}; taken from its Go module", markup=False)
            origin = Origin("module", f"{source.module}@v{source.version}")
            with cache.installing(cache.source(source), origin) as target:
                _copy(builder.module_folder(source.module, source.version), source, target)
                _assert_pinned(source, target)
        else:
            origin = Origin("release", source.archive)
            with cache.installing(cache.source(source), origin) as target:
                unpack_tree(archive, partial(_wanted, source), target)
                _assert_pinned(source, target)
    return origin


def _wanted(source: Source, path: str) -> str | None:
    """The place below the source's folder for a path of the source tree; None if it is not asked for."""
    prefix = f"{source.root}/" if source.root else ""
    if not path.startswith(prefix):
        return None
    inner = path.removeprefix(prefix)
    return inner if any(fnmatchcase(inner, pattern) for pattern in source.paths) else None


def _copy(tree: Path, source: Source, target: Path) -> None:
    for file in sorted((tree / source.root).rglob("*")):
        inner = _wanted(source, file.relative_to(tree).as_posix())
        if inner and file.is_file():
            place = target / inner
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _assert_pinned(source: Source, folder: Path) -> None:
    seen = content_sha256(folder)
    if not source.sha256:
        console.print(f"{source.name} {source.version} is not pinned; taken as it is: SHA-256 {seen}", markup=False)
        return
    if seen != source.sha256:
        raise LabError(
            f"The files of {source.name} {source.version} are not the pinned ones, so they were not used",
            seen=f"content SHA-256 {seen}, expected {source.sha256}",
            todo="try again; if it stays so, something between you and the project changes downloads",
        )
