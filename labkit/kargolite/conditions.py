"""Conditions in a status, set and removed in the order and with the transition times that Kargo shows."""

from __future__ import annotations

from typing import Literal

from labkit.asynckube.objects import Obj, now

Truth = Literal["True", "False", "Unknown"]
_LONGEST_MESSAGE = 32768


def get_condition(status: Obj, kind: str) -> Obj | None:
    """The condition of that type, if set."""
    found: Obj
    for found in status.get("conditions") or []:
        if found["type"] == kind:
            return found
    return None


def set_condition(status: Obj, kind: str, truth: Truth, reason: str, message: str = "", *, generation: int = 0) -> None:
    """Set a condition in place. Like Kargo's, an existing one keeps its transition time even when it turns.

    Args:
        status: The status to change.
        kind: The condition's type.
        truth: Its status.
        reason: One word.
        message: For people.
        generation: The object's generation that was looked at; 0 leaves it out.
    """
    new: Obj = {"type": kind, "status": truth, "reason": reason, "message": message[:_LONGEST_MESSAGE]}
    if generation:
        new["observedGeneration"] = generation
    conditions = status.setdefault("conditions", [])
    for index, existing in enumerate(conditions):
        if existing["type"] == kind:
            conditions[index] = new | {"lastTransitionTime": existing.get("lastTransitionTime") or now()}
            return
    conditions.append(new | {"lastTransitionTime": now()})


def remove_condition(status: Obj, kind: str) -> None:
    """Remove a condition, if set."""
    if "conditions" in status:
        status["conditions"] = [item for item in status["conditions"] if item["type"] != kind]
