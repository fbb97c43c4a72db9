"""The program cache: a folder for each program and version, put in place whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import yaml
from filelock import FileLock, Timeout

from labkit.errors import LabError
from labkit.progress import step
from labkit.toolchain.catalogue import ImageProgram, Platform, Program, Source

ORIGIN = "origin.yaml"


@dataclass(frozen=True)
class Origin:
    """Where a cached thing came from: a release, a Go module or a container image, and its address."""

    source: Literal["release", "module", "image"]
    address: str


@dataclass(frozen=True)
class Cache:
    """The cache in one folder, for one platform."""

    root: Path
    platform: Platform

    def program(self, program: Program) -> Path:
        """What is kept for a program, itself or the folder it comes in, whether it exists or not."""
        return self._folder("programs", program.name, program.version) / program.name

    def source(self, source: Source) -> Path:
        """The folder with a source's files, whether it exists or not."""
        return self._folder("sources", source.name, source.version) / "files"

    def image(self, image: ImageProgram) -> Path:
        """The folder with an image's files, whether it exists or not."""
        return self._folder("images", image.name, image.version) / "root"

    @property
    def build(self) -> Path:
        """What `go build` keeps while it works: modules, compiled packages, Go itself."""
        return self.root / "build"

    def has(self, thing: Path) -> bool:
        """Whether a program or source is in its place."""
        return thing.exists() and (thing.parent / ORIGIN).exists()

    def origin(self, thing: Path) -> Origin:
        """Where something in the cache came from."""
        return Origin(**yaml.safe_load((thing.parent / ORIGIN).read_text()))

    @contextmanager
    def installing(self, thing: Path, origin: Origin) -> Iterator[Path]:
        """Fill a place: yields a path to write to, which becomes `thing` only if the block succeeds."""
        with self.scratch() as scratch:
            folder = scratch / "new"
            folder.mkdir()
            (folder / ORIGIN).write_text(yaml.safe_dump(asdict(origin)))
            yield folder / thing.name
            shutil.rmtree(thing.parent, ignore_errors=True)
            thing.parent.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(thing.parent)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for unfinished work, in the cache's own file system, removed at the end."""
        parent = self.root / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one that fills this cache; waits for another labkit that does.

        Raises:
            LabError: The cache cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / "lock")
            try:
                lock.acquire(timeout=0.2)
            except Timeout:
                with step("Waiting for another labkit that is filling the program cache"):
                    lock.acquire()
        except OSError as error:
            raise LabError(
                f"The program cache {self.root} cannot be written",
                seen=str(error),
                todo="set LABKIT_CACHE to a folder of yours on a disk with space",
            ) from error
        try:
            shutil.rmtree(self.root / "scratch", ignore_errors=True)  # what a killed labkit left
            yield
        finally:
            lock.release()

    def _folder(self, kind: str, name: str, version: str) -> Path:
        return self.root / kind / name / version / f"{self.platform.os}-{self.platform.arch}"
