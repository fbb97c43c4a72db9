"""What a tier's Dockerfile says, for a builder without Docker: which files, which wheels, what is started.

The part of the language that can be done without running commands is understood; anything else is refused by
its line. Source: https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from labkit.errors import LabError


@dataclass(frozen=True)
class Copy:
    """`COPY sources… destination`, with the destination as an absolute path."""

    sources: tuple[str, ...]
    destination: PurePosixPath
    into_folder: bool


@dataclass(frozen=True)
class Wheels:
    """`RUN pip install --target … --requirement …`, both as absolute paths in the image."""

    requirements: PurePosixPath
    target: PurePosixPath


@dataclass(frozen=True)
class Recipe:
    """An image as its Dockerfile describes it, without the base image."""

    workdir: PurePosixPath
    contents: tuple[Copy | Wheels, ...]
    env: Mapping[str, str]
    ports: tuple[int, ...]
    user: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


class _RefusedError(Exception):
    """An instruction that cannot be done."""


def read_recipe(text: str, name: str = "Dockerfile") -> Recipe:
    """Read a Dockerfile.

    Args:
        text: Its content.
        name: Its path, for errors.

    Raises:
        LabError: It asks for something that needs a container engine; names the line.
    """
    workdir = PurePosixPath("/")
    contents: list[Copy | Wheels] = []
    env: dict[str, str] = {}
    ports: list[int] = []
    commands: dict[str, tuple[str, ...]] = {}
    user, bases = "", 0
    for number, instruction, rest in _instructions(text):
        try:
            match instruction:
                case "ARG":
                    pass
                case "FROM":
                    bases += 1
                    if bases > 1:
                        raise _RefusedError("an image is built in one stage")
                case "WORKDIR":
                    workdir = _absolute(workdir, _words(rest, 1)[0])
                case "COPY":
                    contents.append(_copy(workdir, rest))
                case "RUN":
                    contents.append(_wheels(workdir, rest))
                case "ENV":
                    env |= dict(_pair(word) for word in _words(rest, 1))
                case "EXPOSE":
                    ports += [_port(word) for word in _words(rest, 1)]
                case "USER":
                    user = _words(rest, 1)[0]
                case "ENTRYPOINT" | "CMD":
                    commands[instruction] = _json_words(rest)
                case _:
                    raise _RefusedError("this instruction is not understood")
        except (_RefusedError, ValueError) as error:
            raise LabError(
                f"{name}, line {number}: `{instruction} {rest}` cannot be built without a container engine",
                seen=str(error),
                todo="use ARG, FROM, WORKDIR, COPY, ENV, EXPOSE, USER, ENTRYPOINT, CMD, and for wheels "
                "`RUN pip install --target FOLDER --requirement FILE`",
            ) from error
    if not commands:
        raise LabError(f"{name} has neither ENTRYPOINT nor CMD", todo='add `ENTRYPOINT ["python3", "…"]`')
    return Recipe(
        workdir=workdir,
        contents=tuple(contents),
        env=env,
        ports=tuple(ports),
        user=user,
        entrypoint=commands.get("ENTRYPOINT", ()),
        command=commands.get("CMD", ()),
    )


def read_recipe_file(file: Path) -> Recipe:
    """Read a Dockerfile from disk."""
    try:
        return read_recipe(file.read_text(), str(file.name))
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file} cannot be read", seen=str(error)) from error


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Number of the first line, instruction and the rest of it; comments dropped, continued lines joined."""
    statements: list[tuple[int, str]] = []
    continued = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        words = line.rstrip().removesuffix("\\")
        if continued:
            first, before = statements.pop()
            statements.append((first, f"{before} {words}"))
        else:
            statements.append((number, words))
        continued = line.rstrip().endswith("\\")
    for number, statement in statements:
        instruction, *rest = statement.split(maxsplit=1) or [""]
        if instruction:
            yield number, instruction.upper(), "".join(rest).strip()


def _words(rest: str, at_least: int) -> list[str]:
    words = shlex.split(rest)
    if len(words) < at_least:
        raise _RefusedError(f"{at_least} words are needed")
    if any("$" in word for word in words):
        raise _RefusedError("variables are not filled in")
    return words


def _absolute(workdir: PurePosixPath, path: str) -> PurePosixPath:
    joined = workdir / path
    if ".." in joined.parts:
        raise _RefusedError("a path leads upwards")
    return joined


def _copy(workdir: PurePosixPath, rest: str) -> Copy:
    *sources, destination = _words(rest, 2)
    for source in sources:
        if source.startswith(("-", "/")) or ".." in PurePosixPath(source).parts or re.search(r"[*?\[]", source):
            raise _RefusedError("COPY takes plain paths below the repository's root, without options and patterns")
    into_folder = destination.endswith("/") or destination == "." or len(sources) > 1
    return Copy(tuple(sources), _absolute(workdir, destination), into_folder)


def _wheels(workdir: PurePosixPath, rest: str) -> Wheels:
    words = _words(rest, 1)
    if words[:2] != ["pip", "install"]:
        raise _RefusedError("the only command is `pip install`")
    values: dict[str, str] = {}
    remaining = iter(words[2:])
    for word in remaining:
        if word in ("--target", "--requirement"):
            values[word] = next(remaining, "")
        elif word not in ("--no-cache-dir", "--no-deps", "--no-compile", "--only-binary=:all:"):
            raise _RefusedError(f"pip's {word} is not understood")
    if not values.get("--target") or not values.get("--requirement"):
        raise _RefusedError("pip install needs --target and --requirement")
    return Wheels(_absolute(workdir, values["--requirement"]), _absolute(workdir, values["--target"]))


def _pair(word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not name or not separator:
        raise _RefusedError("ENV takes NAME=value")
    return name, value


def _port(word: str) -> int:
    number = word.removesuffix("/tcp")
    if not (number.isascii() and number.isdecimal() and 0 < int(number) < 65536):
        raise _RefusedError(f"{word} is no TCP port")
    return int(number)


def _json_words(rest: str) -> tuple[str, ...]:
    words = json.loads(rest)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise _RefusedError('the command is a JSON list, such as ["python3", "main.py"]')
    return tuple(words)
