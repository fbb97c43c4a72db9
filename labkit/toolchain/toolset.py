"""What the lab runs: look for it (`find_tools`), or see to it that all of it is there (`ensure_tools`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from labkit.errors import LabError
from labkit.paths import cache_dir
from labkit.progress import console
from labkit.tables import Table
from labkit.toolchain.cache import Cache, Origin
from labkit.toolchain.catalogue import Catalogue, Program, Release, Source, load_catalogue, this_platform
from labkit.toolchain.golang import Builder
from labkit.toolchain.locate import locate, probe
from labkit.toolchain.release import Unavailable, fetch, unpack, unpack_tree
from labkit.toolchain.sources import ensure_source

MISSING = "missing"
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Tool:
    """A program or a folder of upstream files.

    `source` is where it was taken from: `path`, `cache`, `package`, just now from its `release` or `module`;
    `embedded` (a folder that is not needed, because the program has it inside) or `missing`.
    """

    name: str
    version: str
    source: str
    path: Path | None
    purpose: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Toolset(Table[Tool]):
    """Programs and folders by name, shown as a table."""

    title: ClassVar[str] = "Programs and upstream files"
    columns: ClassVar[tuple[str, ...]] = ("name", "version", "source", "path", "notes")

    def path(self, name: str) -> Path:
        """A program.

        Raises:
            LabError: It is missing, or was not asked for.
        """
        return self._existing(name)

    def folder(self, name: str) -> Path:
        """A folder of upstream files.

        Raises:
            LabError: It is missing, embedded in its program, or was not asked for.
        """
        return self._existing(name)

    def version(self, name: str) -> str:
        """A program's version, as its own release numbers it."""
        return next(tool.version for tool in self.rows if tool.name == name)

    def has(self, name: str) -> bool:
        """Whether there is a path for this name (there is none for a folder that its program embeds)."""
        return any(tool.name == name and tool.path is not None for tool in self.rows)

    @property
    def missing(self) -> tuple[Tool, ...]:
        """What was looked for and is not there."""
        return tuple(tool for tool in self.rows if tool.source == MISSING)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as plain values, every field of them."""
        return [
            {**asdict(tool), "path": str(tool.path) if tool.path else None, "notes": list(tool.notes)}
            for tool in self.rows
        ]

    def _existing(self, name: str) -> Path:
        for tool in self.rows:
            if tool.name == name and tool.path is not None:
                return tool.path
            if tool.name == name:
                raise LabError(f"{name} is {tool.source}", seen="; ".join(tool.notes), todo="run `labkit tools`")
        raise LabError(f"{name} is not among: {', '.join(tool.name for tool in self.rows)}")


def find_tools(
    names: Iterable[str] | None = None, *, catalogue: Catalogue | None = None, cache: Path | None = None
) -> Toolset:
    """Look for programs and files; nothing is fetched, built or changed.

    Args:
        names: Which ones; what every lab needs for None.
        catalogue: Another one than `data/tools.yaml`.
        cache: Another folder than the user's program cache.

    Raises:
        UsageError: A name is not known.
    """
    catalogue = catalogue or load_catalogue()
    place = Cache(cache or cache_dir(), this_platform())
    return _look(catalogue.chosen(names), catalogue, place)


def ensure_tools(
    names: Iterable[str] | None = None,
    *,
    extras: Iterable[str] = (),
    catalogue: Catalogue | None = None,
    cache: Path | None = None,
) -> Toolset:
    """See to it that programs and files are there: what is missing is downloaded, else built from source.

    Args:
        names: Which ones; what every lab needs for None.
        extras: More of them; the optional ones that a lab is to have.
        catalogue: Another one than `data/tools.yaml`.
        cache: Another folder than the user's program cache.

    Raises:
        UsageError: A name is not known.
        LabError: Something cannot be had; says why, and the way out.
    """
    catalogue = catalogue or load_catalogue()
    place = Cache(cache or cache_dir(), this_platform())
    wanted = catalogue.chosen(names, extras)
    found = _look(wanted, catalogue, place)
    if not found.missing:
        return found
    with place.lock():
        found = _look(wanted, catalogue, place)
        return Toolset(_completed(found.rows, catalogue, place))


def link_into(tools: Toolset, folder: Path) -> Path:
    """Make a folder for PATH with a link to each program, under the name that the lab uses for it.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for tool in tools:
        if tool.path is None or not tool.path.is_file():
            continue
        fresh = folder / f".{tool.name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(tool.path)
        fresh.replace(folder / tool.name)
    return folder


def _look(names: Sequence[str], catalogue: Catalogue, cache: Cache) -> Toolset:
    programs = {name: _program_row(catalogue.programs[name], cache) for name in names if name in catalogue.programs}
    return Toolset(
        tuple(
            programs[name] if name in programs else _source_row(catalogue.sources[name], catalogue, cache, programs)
            for name in names
        )
    )


def _program_row(program: Program, cache: Cache) -> Tool:
    found = locate(program, cache)
    return Tool(program.name, found.version or program.wanted, found.source, found.path, program.purpose, found.notes)


def _source_row(source: Source, catalogue: Catalogue, cache: Cache, known: dict[str, Tool]) -> Tool:
    folder = cache.source(source)
    row = Tool(source.name, source.version, MISSING, None, source.purpose)
    if source.embedded:
        owner = catalogue.programs[source.embedded.program]
        tool = known.get(owner.name) or _program_row(owner, cache)
        if tool.path and source.embedded.pattern.search(probe(owner, tool.path)):
            return replace(row, source=EMBEDDED, notes=(f"inside {tool.path}",))
    if cache.has(folder):
        return replace(row, source="cache", path=folder, notes=(f"from its {cache.origin(folder).source}",))
    return row


def _completed(rows: Sequence[Tool], catalogue: Catalogue, cache: Cache) -> tuple[Tool, ...]:
    """The rows, with everything that was missing fetched or built."""
    builder = Builder(catalogue.go, cache)
    done: dict[str, Tool] = {tool.name: tool for tool in rows}
    missing = [tool.name for tool in rows if tool.source == MISSING]
    programs = [catalogue.programs[name] for name in missing if name in catalogue.programs]
    _assert_obtainable(programs, done)
    for program, origin in _acquired(programs, catalogue, cache, builder):
        done[program.name] = replace(
            done[program.name],
            version=program.version,
            source=origin.source,
            path=program.inside(cache.program(program)),
            notes=(*done[program.name].notes, origin.address),
        )
    for name in missing:
        if name not in catalogue.sources:
            continue
        source = catalogue.sources[name]
        row = _source_row(source, catalogue, cache, done)
        if row.source == MISSING:
            origin = ensure_source(source, cache, builder)
            row = replace(row, source=origin.source, path=cache.source(source), notes=(origin.address,))
        done[name] = row
    builder.clean()
    return tuple(done[tool.name] for tool in rows)


def _assert_obtainable(programs: Sequence[Program], rows: dict[str, Tool]) -> None:
    hopeless = [program for program in programs if not program.go and not program.releases]
    if hopeless:
        raise LabError(
            "Missing: " + ", ".join(f"{program.name} ({program.wanted})" for program in hopeless),
            seen="; ".join(note for program in hopeless for note in rows[program.name].notes) or "not on PATH",
            todo="; ".join(program.advice for program in hopeless),
        )


def _acquired(
    programs: Sequence[Program], catalogue: Catalogue, cache: Cache, builder: Builder
) -> Iterable[tuple[Program, Origin]]:
    """Fetch what has a release within reach, build the rest."""
    acquired: dict[str, Origin] = {}
    reasons: dict[str, list[str]] = {}
    with cache.scratch() as scratch:
        files: dict[str, Path] = {}
        for program in programs:
            for release in program.releases_for(cache.platform):
                try:
                    acquired[program.name] = _from_release(program, release, cache, scratch, files)
                    break
                except Unavailable as unavailable:
                    reasons.setdefault(str(unavailable), []).append(program.name)
    for reason, affected in reasons.items():
        console.print(f"No release for {', '.join(affected)}: {reason}", markup=False)
    left = [program for program in programs if program.name not in acquired]
    needed = [build for build in catalogue.builds.values() if any(_belongs(program, build.name) for program in left)]
    stranded = [program for program in left if not program.go]
    if stranded:
        raise LabError(
            f"{', '.join(program.name for program in stranded)} could not be downloaded",
            seen="; ".join(reasons) or f"there is no release for {cache.platform}",
            todo="; ".join(program.advice for program in stranded if program.advice),
        )
    if needed:
        builder.assert_ready(needed)
    for build in needed:
        mine = [program for program in left if _belongs(program, build.name)]
        with cache.scratch() as scratch:
            for name, file in builder.build(build, mine, scratch).items():
                program = catalogue.programs[name]
                origin = Origin("module", program.go.package if program.go else "")
                _install(program, file, "", cache, origin)
                acquired[name] = origin
    return [(program, acquired[program.name]) for program in programs]


def _belongs(program: Program, build: str) -> bool:
    return program.go is not None and program.go.build == build


def _from_release(program: Program, release: Release, cache: Cache, scratch: Path, files: dict[str, Path]) -> Origin:
    if release.address not in files:
        files[release.address] = fetch(release, scratch, title=f"{release.asset} ({program.version})")
    origin = Origin("release", release.address)
    _install(program, files[release.address], release.member, cache, origin)
    return origin


def _install(program: Program, file: Path, member: str, cache: Cache, origin: Origin) -> None:
    """Put a program into the cache once it runs and says the version that it should have."""
    with cache.installing(cache.program(program), origin) as target:
        if program.tree:
            unpack_tree(file, program.tree.place, target)
        else:
            unpack(file, member, target)
        if not program.inside(target).is_file():
            raise LabError(f"{file.name} does not unpack to {program.name}", seen=f"no {program.inside(target).name}")
        said = probe(program, program.inside(target))
        version = program.probe.version_in(said)
        if version != program.version:
            raise LabError(
                f"{program.name} from {origin.address} is not version {program.version}",
                seen=f"it says {said.strip()[:200]!r}",
                todo=f"put {program.name} {program.version} on PATH",
            )
