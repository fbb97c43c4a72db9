"""What a check is: a claim about the lab that is looked at by another route than the call that brought it about."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from labkit.config import Lab
from labkit.errors import LabError, UsageError


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
    """A check that did not hold: what is missing, and a hint."""


@dataclass(frozen=True)
class _Check:
    look: Callable[[Lab], str]
    hint: str
    solution: str


_checks: dict[str, _Check] = {}


def register(name: str, hint: str, solution: str = "") -> Callable[[Callable[[Lab], str]], Callable[[Lab], str]]:
    """Make a function a check: it returns what it found, or fails by an AssertionError that says what is missing.

    Args:
        name: The check's name.
        hint: What to do where it does not hold.
        solution: Of an exercise, the commands that solve it.
    """

    def kept(function: Callable[[Lab], str]) -> Callable[[Lab], str]:
        _checks[name] = _Check(function, hint, solution)
        return function

    return kept


def check_names() -> tuple[str, ...]:
    """The names that `check` knows."""
    return tuple(_checks)


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
        NotYet: The work is not done, or not right; says what was seen and gives a hint.
        UsageError: There is no such check.
    """
    if name not in _checks:
        raise UsageError(f"There is no check {name!r}", todo=f"use one of: {', '.join(_checks)}")
    found, hint = _checks[name], _checks[name].hint
    try:
        return Checked(name, found.look(lab))
    except AssertionError as error:
        raise NotYet(f"Check {name!r} does not hold", seen=str(error), todo=hint) from error
    except NotYet:
        raise
    except LabError as error:
        raise NotYet(f"Check {name!r} could not be made: {error.what}", seen=error.seen, todo=hint) from error


def expect(found: object, wanted: object, what: str) -> None:
    """Fail a check where something is not as it should be."""
    if found != wanted:
        raise AssertionError(f"{what}: found {found}, expected {wanted}")
