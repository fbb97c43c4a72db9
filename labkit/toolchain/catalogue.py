"""What the lab uses and does not write itself, read from `data/tools.yaml`: programs, builds, files."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml

from labkit.errors import LabError, UsageError
from labkit.paths import DATA

ChecksumFormat = Literal["value", "lines", "github-assets"]
Acceptance = Literal["exact", "minor", "at-least"]

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Platform:
    """An operating system and processor, in Go's words."""

    os: str
    arch: str

    def __str__(self) -> str:
        return f"{self.os}/{self.arch}"


def this_platform() -> Platform:
    """The platform that labkit runs on.

    Raises:
        LabError: It is neither Linux nor macOS, or neither amd64 nor arm64.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    if system not in ("linux", "darwin") or machine not in _ARCHITECTURES:
        raise LabError(
            f"The lab's programs do not run on {system}/{machine}",
            todo="use Linux or macOS on amd64 or arm64 (on Windows: WSL 2)",
        )
    return Platform(system, _ARCHITECTURES[machine])


@dataclass(frozen=True)
class Checksum:
    """A SHA-256, pinned (`sha256`) or read from the release's own file (`address`, `format`)."""

    sha256: str = ""
    address: str = ""
    format: ChecksumFormat = "value"


@dataclass(frozen=True)
class Release:
    """A file of an official release for one platform; `member` is the program's path in an archive."""

    address: str
    checksum: Checksum
    member: str = ""

    @property
    def asset(self) -> str:
        """The file's name."""
        return self.address.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Probe:
    """How to read a program's version: arguments, and a pattern whose first group is the version."""

    arguments: tuple[str, ...]
    pattern: re.Pattern[str]

    def version_in(self, output: str) -> str | None:
        """The version in what the program printed, if it is there."""
        found = self.pattern.search(output)
        return found.group(1) if found else None


@dataclass(frozen=True)
class Package:
    """A Python package that ships a program at `file` (a glob relative to where packages are installed)."""

    distribution: str
    file: str


@dataclass(frozen=True)
class Tree:
    """A program whose release is a folder of files.

    Attributes:
        program: The program's path in the folder.
        paths: What is kept of the folder; patterns in which `*` stands for slashes too.
    """

    program: str
    paths: tuple[str, ...]

    def place(self, path: str) -> str | None:
        """The place of a file of the folder; None if it is not kept."""
        return path if any(fnmatchcase(path, pattern) for pattern in self.paths) else None


@dataclass(frozen=True)
class GoPackage:
    """A program's main package, the build it belongs to and what `go build` calls the result."""

    build: str
    package: str
    output: str


@dataclass(frozen=True)
class Build:
    """One Go module of the lab's whose requirements are built by one `go build`."""

    name: str
    folder: Path
    cgo: bool
    minutes: float
    disk_gib: float
    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """An external program: its pinned version and every way to get it; `optional` if only some labs want it."""

    name: str
    version: str
    purpose: str
    on_path: tuple[str, ...]
    accept: Acceptance
    minimum: str
    probe: Probe
    releases: tuple[tuple[frozenset[str], Release], ...]
    package: Package | None
    go: GoPackage | None
    advice: str
    tree: Tree | None
    optional: bool

    def releases_for(self, target: Platform) -> tuple[Release, ...]:
        """The releases for a platform, in the order they are tried."""
        return tuple(
            _filled(release, name=self.name, version=self.version, os=target.os, arch=target.arch)
            for platforms, release in self.releases
            if str(target) in platforms
        )

    def inside(self, place: Path) -> Path:
        """The program itself in what was put in place for it: a file, or a folder with more."""
        return place / self.tree.program if self.tree else place

    def accepts(self, version: str) -> bool:
        """Whether a program of this version will do."""
        if self.accept == "exact":
            return version == self.version
        found = version_numbers(version)
        if self.accept == "minor":
            return found[:2] == version_numbers(self.version)[:2]
        return found >= version_numbers(self.minimum)

    @property
    def wanted(self) -> str:
        """The versions that will do, in words."""
        if self.accept == "exact":
            return self.version
        if self.accept == "minor":
            return ".".join(self.version.split(".")[:2]) + ".x"
        return f"{self.minimum} or newer"


@dataclass(frozen=True)
class ImageProgram:
    """A program that its project publishes in a container image only.

    Attributes:
        name: What it is called on PATH.
        version: The version in the image.
        address: `host/repository:tag` of the image.
        digest: What the registry has to answer for it; empty where its answer for the tag is taken.
        platforms: What the image is published for.
        file: The program's path in the image.
        probe: How to read its version.
    """

    name: str
    version: str
    address: str
    digest: str
    platforms: frozenset[str]
    file: str
    probe: Probe


@dataclass(frozen=True)
class Embedded:
    """A program that needs no files beside it when its version output matches `pattern`."""

    program: str
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Source:
    """Files of an upstream source tree, taken from the tag's archive, else from the Go module if there is one.

    `sha256` is empty where what the archive's address answers is taken; `optional` if only some labs want it.
    """

    name: str
    version: str
    purpose: str
    module: str
    archive: str
    root: str
    paths: tuple[str, ...]
    sha256: str
    embedded: Embedded | None
    optional: bool


@dataclass(frozen=True)
class Go:
    """The Go toolchain: the oldest version that will do, and the Python package to install without one."""

    minimum: str
    requirements: Path
    file: str
    probe: Probe


@dataclass(frozen=True)
class Catalogue:
    """Everything that can be asked for by name."""

    programs: Mapping[str, Program]
    sources: Mapping[str, Source]
    images: Mapping[str, ImageProgram]
    builds: Mapping[str, Build]
    go: Go

    @property
    def names(self) -> tuple[str, ...]:
        """All names, programs first."""
        return (*self.programs, *self.sources)

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of what every lab needs, programs first."""
        optional = {program.name for program in self.programs.values() if program.optional}
        optional |= {source.name for source in self.sources.values() if source.optional}
        return tuple(name for name in self.names if name not in optional)

    def chosen(self, names: Iterable[str] | None, extras: Iterable[str] = ()) -> tuple[str, ...]:
        """The given names, each once.

        Args:
            names: Names; None for what every lab needs.
            extras: More names.

        Raises:
            UsageError: A name is not known.
        """
        wanted = tuple(dict.fromkeys((*(self.needed if names is None else names), *extras)))
        unknown = [name for name in wanted if name not in self.programs and name not in self.sources]
        if unknown:
            raise UsageError(f"No such tool: {', '.join(unknown)}", todo=f"use some of: {', '.join(self.names)}")
        return wanted


def version_numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, for comparing; what follows the first one that is no number is left out."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in numbers.group().split(".")) if numbers else ()


def load_catalogue(file: Path = DATA / "tools.yaml") -> Catalogue:
    """The catalogue in a YAML file; its folders are relative to it.

    Raises:
        LabError: An entry is wrong; names it.
    """
    data = yaml.safe_load(file.read_text())
    base = file.parent
    builds = {entry["name"]: _build(entry, base) for entry in data["builds"]}
    programs = {entry["name"]: _checked(_program(entry), builds) for entry in data["programs"]}
    sources = {entry["name"]: _source(entry) for entry in data["sources"]}
    images = {entry["name"]: _image(entry) for entry in data.get("images", ())}
    return Catalogue(programs=programs, sources=sources, images=images, builds=builds, go=_go(data["go"], base))


def _filled(release: Release, **values: str) -> Release:
    return Release(
        address=release.address.format(**values),
        member=release.member.format(**values),
        checksum=Checksum(release.checksum.sha256, release.checksum.address.format(**values), release.checksum.format),
    )


def _probe(entry: Mapping[str, Any]) -> Probe:
    return Probe(tuple(entry["arguments"]), re.compile(entry["pattern"]))


def _build(entry: Mapping[str, Any], base: Path) -> Build:
    return Build(
        name=entry["name"],
        folder=base / entry["folder"],
        cgo=entry["cgo"],
        minutes=entry["minutes"],
        disk_gib=entry["diskGiB"],
        tags=tuple(entry.get("tags", ())),
        variables=entry["variables"],
    )


def _program(entry: Mapping[str, Any]) -> Program:
    build, package, tree = entry.get("build"), entry.get("package"), entry.get("tree")
    return Program(
        name=entry["name"],
        version=entry["version"],
        purpose=entry["purpose"],
        on_path=tuple(entry["path"]),
        accept=entry["accept"],
        minimum=entry.get("minimum", entry["version"]),
        probe=_probe(entry["probe"]),
        releases=tuple(
            (
                frozenset(release["platforms"]),
                Release(release["address"], Checksum(**release["checksum"]), release.get("member", "")),
            )
            for release in entry.get("releases", ())
        ),
        package=Package(**package) if package else None,
        go=GoPackage(build["name"], build["package"], build["output"]) if build else None,
        advice=entry.get("advice", ""),
        tree=Tree(tree["program"], tuple(tree["paths"])) if tree else None,
        optional=entry.get("optional", False),
    )


def _checked(program: Program, builds: Mapping[str, Build]) -> Program:
    if program.go and program.go.build not in builds:
        raise LabError(f"Tool {program.name}: there is no build {program.go.build!r}")
    for _, release in program.releases:
        if not (release.checksum.sha256 or release.checksum.address):
            raise LabError(f"Tool {program.name}: its release {release.address} has no checksum")
    return program


def _source(entry: Mapping[str, Any]) -> Source:
    embedded = entry.get("embedded")
    return Source(
        name=entry["name"],
        version=entry["version"],
        purpose=entry["purpose"],
        module=entry.get("module", ""),
        archive=entry["archive"].format(version=entry["version"]),
        root=entry["root"],
        paths=tuple(entry["paths"]),
        sha256=entry["sha256"],
        embedded=Embedded(embedded["program"], re.compile(embedded["pattern"])) if embedded else None,
        optional=entry.get("optional", False),
    )


def _image(entry: Mapping[str, Any]) -> ImageProgram:
    return ImageProgram(
        name=entry["name"],
        version=entry["version"],
        address=entry["address"].format(version=entry["version"]),
        digest=entry["digest"],
        platforms=frozenset(entry["platforms"]),
        file=entry["file"],
        probe=_probe(entry["probe"]),
    )


def _go(entry: Mapping[str, Any], base: Path) -> Go:
    package = entry["package"]
    return Go(
        minimum=entry["minimum"],
        requirements=base / package["requirements"],
        file=package["file"],
        probe=_probe(entry["probe"]),
    )
