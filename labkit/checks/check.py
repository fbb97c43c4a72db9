"""What a check is: a claim about the lab that is looked at by another route than the call that brought it about."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from labkit.config import Lab
from labkit.errors import LabError, UsageError
from labkit.tables import Record, Table


@dataclass(frozen=True)
class Checked:
    """A check that held."""

    name: str
    found: str

    def as_json(self) -> dict[str, str]:
        """What was found, as plain values."""
        return {"check": self.name, "found": self.found}

    def __str__(self) -> str:
        return f"✓ {self.name}: {self.found}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div style='color:#1f9d63'><b>✓ {html.escape(self.name)}</b>: {html.escape(self.found)}</div>"


class NotYet(LabError):  # noqa: N818 (it reads as what it says to a learner)
    """The work is not done: what is missing, and a hint."""

    mark, colour = "○", 33  # yellow: nothing has failed


class Wrong(LabError):  # noqa: N818 (it reads as what it says to a learner)
    """Something was done, and not as it should be: what was found, and a hint."""


class Mistake(AssertionError):  # noqa: N818 (what it stands for, not what Python does)
    """What a check raises where it finds something that waiting, or going on, will not put right."""


@dataclass(frozen=True)
class _Check:
    look: Callable[[Lab], str]
    hint: str
    solution: str


_checks: dict[str, _Check] = {}


def register(name: str, hint: str, solution: str = "") -> Callable[[Callable[[Lab], str]], Callable[[Lab], str]]:
    """Make a function a check: it returns what it found, or fails.

    An AssertionError says what is missing, a Mistake what is wrong.

    Args:
        name: The check's name.
        hint: What to do where it does not hold.
        solution: Of an exercise, the commands that solve it.
    """

    def kept(function: Callable[[Lab], str]) -> Callable[[Lab], str]:
        _checks[name] = _Check(function, hint, solution)
        return function

    return kept


@dataclass(frozen=True, repr=False)
class CheckName(Record):
    """A check that there is.

    Attributes:
        check: Its name.
        looks: By which route it looks.
        hint: What to do where it does not hold.
    """

    check: str
    looks: str
    hint: str


class CheckTable(Table[CheckName]):
    """The checks that there are."""

    title = "Checks"
    columns = ("check", "looks", "hint")


def check_names() -> tuple[str, ...]:
    """The names that `check` knows."""
    return tuple(_checks)


def check_table() -> CheckTable:
    """What can be checked, and by which route."""
    return CheckTable(
        tuple(CheckName(name, " ".join((item.look.__doc__ or "").split()), item.hint) for name, item in _checks.items())
    )


def solution(name: str) -> str:
    """The commands that solve an exercise.

    Raises:
        UsageError: There is no such exercise.
    """
    exercises = {key: item.solution for key, item in _checks.items() if item.solution}
    if name not in exercises:
        raise UsageError(f"There is no exercise {name!r}", todo=f"use one of: {', '.join(exercises)}")
    return exercises[name]


def check(lab: Lab, name: str) -> Checked:
    """Check a piece of work.

    Args:
        lab: The lab.
        name: Which piece.

    Returns:
        What was found.

    Raises:
        NotYet: The work is not done; says what is missing and gives a hint.
        Wrong: Something was done, and not as it should be; says what was found and gives a hint.
        UsageError: There is no such check.
    """
    if name not in _checks:
        raise UsageError(f"There is no check {name!r}", todo=f"use one of: {', '.join(_checks)}")
    found, hint = _checks[name], _checks[name].hint
    try:
        return Checked(name, found.look(lab))
    except Mistake as error:
        raise Wrong(f"Wrong: {name}", seen=str(error), todo=hint) from error
    except AssertionError as error:
        raise NotYet(f"Not yet: {name}", seen=str(error), todo=hint) from error
    except LabError as error:
        raise NotYet(f"Not yet: {name} could not be looked at: {error.what}", seen=error.seen, todo=hint) from error


def expect(found: object, wanted: object, what: str, *, else_wrong: bool = False) -> None:
    """Fail a check where something is not as it should be.

    Args:
        found: How it is.
        wanted: How it should be.
        what: What it is.
        else_wrong: Whether anything else is a mistake, and not only something that has not come yet.
    """
    if found != wanted:
        said = f"{what}: found {found}, expected {wanted}"
        raise Mistake(said) if else_wrong else AssertionError(said)
