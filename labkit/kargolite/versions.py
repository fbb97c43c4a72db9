"""SemVer tags and constraints (`^1.2`, `>=1.0.0 <2.0.0 || 3.x`), as Kargo's image subscriptions read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from semver import Version

_LOOSE = re.compile(r"v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_PART = r"(?:\d+|[xX*])"
_ATOM = re.compile(
    rf"(=|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")


def parse_version(tag: str, *, strict: bool) -> Version | None:
    """The version a tag stands for; strictly it has all three numbers. A leading `v` is allowed either way."""
    found = _LOOSE.fullmatch(tag)
    if not found or (strict and None in (found[2], found[3])):
        return None
    try:
        return Version.parse(f"{found[1]}.{found[2] or 0}.{found[3] or 0}{found[4] or ''}{found[5] or ''}")
    except ValueError:
        return None


def parse_constraint(text: str) -> Callable[[Version], bool]:
    """A test for versions.

    Raises:
        ValueError: It is no constraint.
    """
    alternatives = [_conjunction(part) for part in text.split("||")]
    return lambda version: any(all(_admits(atom, version) for atom in atoms) for atoms in alternatives)


@dataclass(frozen=True)
class _Atom:
    """From `lower` up to `upper` (exclusive), or everything but that."""

    lower: Version
    upper: Version | None
    outside: bool
    prereleases: bool


def _admits(atom: _Atom, version: Version) -> bool:
    if version.prerelease and not atom.prereleases:
        return False
    inside = version >= atom.lower and (atom.upper is None or version < atom.upper)
    return inside != atom.outside


def _conjunction(text: str) -> list[_Atom]:
    if hyphen := _HYPHEN.fullmatch(text.strip()):
        return _conjunction(f">={hyphen[1]} <={hyphen[2]}")
    atoms = []
    rest = text.strip()
    while rest:
        found = _ATOM.match(rest)
        if not found:
            raise ValueError(f"improper constraint: {text.strip()}")
        atoms.append(_atom(found))
        rest = rest[found.end() :].lstrip(" ,")
    if not atoms:
        raise ValueError("improper constraint: empty")
    return atoms


def _atom(found: re.Match[str]) -> _Atom:
    operator, prerelease = found[1] or "", found[5]
    numbers = [int(part) for part in found.group(2, 3, 4) if part and part.isdecimal()]
    given = len(numbers)
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    base = Version(major, minor, patch, prerelease)
    lowest, with_prereleases = Version(0, 0, 0, "0"), prerelease is not None
    after = _after(base, given)

    def atom(lower: Version, upper: Version | None, *, outside: bool = False) -> _Atom:
        return _Atom(lower, upper, outside, with_prereleases)

    match operator:
        case ">":
            return atom(after, None) if after else atom(lowest, lowest)
        case ">=" | "=>":
            return atom(base, None)
        case "<":
            return atom(lowest, base)
        case "<=" | "=<":
            return atom(lowest, after)
        case "!=":
            return atom(base, after, outside=True)
        case "^":
            return atom(base, _after(base, _caret_width(numbers)))
        case "~" | "~>":
            return atom(base, _after(base, min(given, 2)))
        case _:
            return atom(base, after)


def _caret_width(numbers: list[int]) -> int:
    for width, number in enumerate(numbers, start=1):
        if number:
            return width
    return len(numbers)


def _after(base: Version, given: int) -> Version | None:
    """The first version beyond those that start with the first `given` numbers."""
    if given == 0:
        return None
    if given == 1:
        return Version(base.major + 1, 0, 0, "0")
    if given == 2:
        return Version(base.major, base.minor + 1, 0, "0")
    if base.prerelease:
        return Version(base.major, base.minor, base.patch, f"{base.prerelease}.0")
    return Version(base.major, base.minor, base.patch + 1, "0")
