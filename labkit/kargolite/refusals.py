"""Kubernetes' own words and codes for refusing a request, so that kubectl shows a refusal as Kargo's would be shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit.asynckube.objects import Obj
from labkit.kargolite.model import GROUP


@dataclass(frozen=True)
class FieldProblem:
    """One wrong value: where it is, what it is, and why it is wrong."""

    path: str
    value: Any
    detail: str
    forbidden: bool = False

    @property
    def message(self) -> str:
        """As in a Status' causes."""
        if self.forbidden:
            return f"Forbidden: {self.detail}"
        shown = "null" if self.value is None else json.dumps(self.value, ensure_ascii=False, separators=(",", ":"))
        return f"Invalid value: {shown}" + (f": {self.detail}" if self.detail else "")


class Refusal(Exception):  # noqa: N818 (it reads as what it is)
    """A request that is not admitted, with the Status to answer."""

    def __init__(self, code: int, reason: str, message: str, details: Obj | None = None) -> None:
        self.status: Obj = {"status": "Failure", "code": code, "reason": reason, "message": message}
        if details:
            self.status["details"] = details
        super().__init__(message)


def invalid(kind: str, name: str, problems: Sequence[FieldProblem]) -> Refusal:
    """Wrong values (422)."""
    texts = [f"{problem.path}: {problem.message}" for problem in problems]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {
            "reason": "FieldValueForbidden" if problem.forbidden else "FieldValueInvalid",
            "message": problem.message,
            "field": problem.path,
        }
        for problem in problems
    ]
    details = {"name": name, "group": GROUP, "kind": kind, "causes": causes}
    return Refusal(422, "Invalid", f'{kind}.{GROUP} "{name}" is invalid: {listed}', details)


def forbidden(resource: str, name: str, why: str) -> Refusal:
    """Not allowed (403)."""
    details = {"name": name, "group": GROUP, "kind": resource}
    return Refusal(403, "Forbidden", f'{resource}.{GROUP} "{name}" is forbidden: {why}', details)


def conflict(resource: str, name: str, why: str) -> Refusal:
    """In the way of something that exists (409)."""
    details = {"name": name, "group": GROUP, "kind": resource}
    message = f'Operation cannot be fulfilled on {resource}.{GROUP} "{name}": {why}'
    return Refusal(409, "Conflict", message, details)


def missing_namespace(name: str) -> Refusal:
    """The Project's namespace does not exist (404)."""
    return Refusal(404, "NotFound", f'Namespace "{name}" not found', {"name": name, "kind": "Namespace"})


def internal(why: str) -> Refusal:
    """Could not be decided, or Kargo wraps it so (500)."""
    return Refusal(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})
