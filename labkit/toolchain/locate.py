"""Look for programs: on PATH, in the cache, in an installed Python package. Nothing is fetched or changed."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from labkit.errors import LabError
from labkit.paths import lab_home
from labkit.process import run
from labkit.toolchain.cache import Cache
from labkit.toolchain.catalogue import Package, Program

_PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Located:
    """Where a program was found (`source` is `missing` if it was not), and what was refused on the way."""

    source: str
    version: str
    path: Path | None
    notes: tuple[str, ...]


def locate(program: Program, cache: Cache) -> Located:
    """The first acceptable copy of a program: PATH, cache, installed package."""
    notes: list[str] = []
    for path in _on_path(program, cache):
        version, note = _judged(program, path)
        if version:
            return Located("path", version, path, tuple(notes))
        notes.append(note)
    cached = cache.program(program)
    if cache.has(cached):
        notes.append(f"from its {cache.origin(cached).source}")
        return Located("cache", program.version, program.inside(cached), tuple(notes))
    for path in _in_package(program.package) if program.package else ():
        version, note = _judged(program, path)
        if version:
            return Located("package", version, path, tuple(notes))
        notes.append(note)
    return Located("missing", "", None, tuple(notes))


def probe(program: Program, path: Path) -> str:
    """What a program says about its version.

    Raises:
        LabError: It does not run.
    """
    return run([path, *program.probe.arguments], timeout=_PROBE_SECONDS)


def _judged(program: Program, path: Path) -> tuple[str | None, str]:
    """The version of a copy that will do; else what is wrong with it."""
    try:
        said = probe(program, path)
    except (LabError, OSError) as error:
        return None, f"{path} does not run: {str(error).splitlines()[0]}"
    version = program.probe.version_in(said)
    if version is None:
        return None, f"{path} does not say its version"
    if not program.accepts(version):
        return None, f"{path} is {version}, wanted {program.wanted}"
    return version, ""


def _on_path(program: Program, cache: Cache) -> Iterator[Path]:
    """Candidates on PATH, each file once, without the lab's own links."""
    own = (lab_home().bin.resolve(), cache.root.resolve())
    seen: set[Path] = set()
    for name in program.on_path:
        for entry in os.environ.get("PATH", "").split(os.pathsep):
            candidate = Path(entry or ".").absolute() / name
            if not candidate.is_file() or not os.access(candidate, os.X_OK):
                continue
            real = candidate.resolve()
            ours = candidate.parent.resolve() == own[0] or real.is_relative_to(own[1])
            if real not in seen and not ours:
                seen.add(real)
                yield candidate


def _in_package(package: Package) -> Iterator[Path]:
    try:
        files = importlib.metadata.files(package.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if fnmatchcase(file.as_posix(), package.file):
            yield Path(str(file.locate()))
