"""Compares what a situation left behind with a recording of a genuine Kargo, field by field.

What differs from run to run (times, uids, hashes, names made of them, ports) is replaced by placeholders first.
Placeholders are numbered in the order in which they are met, so that "the same Freight as above" stays comparable.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "(missing)"

Obj = dict[str, Any]

_DROPPED = frozenset({"managedFields", "resourceVersion", "uid", "creationTimestamp"})
_DROPPED_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})
_PATTERNS = (
    ("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"),
    ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("digest", r"sha256:[0-9a-f]{64}"),
    ("hash", r"\b[0-9a-f]{40}\b"),
    ("ulid", r"(?<=\.)01[0-9a-z]{24}(?=\.)"),
    ("token", r"\b\d{18,20}\b"),
    ("duration", r"\b(?:\d+h)?(?:\d+m)?\d+\.\d+(?:s|ms)\b"),
    ("pull", r"(?<=/pulls/)\d+|(?<=pull request )\d+"),
    ("port", r"(?<=127\.0\.0\.1:)\d+|(?<=localhost:)\d+"),
)
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS))
_UNNUMBERED = frozenset({"time", "token", "duration", "port"})
_SHORT_HASH = re.compile(r"(?<=>\.)[0-9a-f]{7}\b")
_PULL_KEYS = frozenset({"id", "number", "prNumber"})


@dataclass(frozen=True)
class Difference:
    """One field that is not as recorded.

    Attributes:
        object: What it belongs to, such as `Stage dev`, or `answers`.
        field: Its path in the object; empty where the object itself is there on one side only.
        recorded: Its value in the recording.
        found: Its value here.
        index: The object's place in the situation; -1 for the answers.
    """

    object: str
    field: str
    recorded: Any
    found: Any
    index: int = -1

    def __str__(self) -> str:
        return (
            f"{self.object}: {self.field or 'the whole'}\n"
            f"    recorded: {_short(self.recorded)}\n    found:    {_short(self.found)}"
        )


class _Normaliser:
    """Replaces what differs from run to run; remembers what it has met."""

    def __init__(self, same: Mapping[str, str]) -> None:
        self._same = same
        self._met: dict[tuple[str, str], str] = {}
        self._aliases: dict[str, str] = {}

    def objects(self, objects: Iterable[Mapping[str, Any]]) -> list[Any]:
        listed = list(objects)
        for obj in listed:
            if obj.get("kind") == "Freight" and "alias" in obj:
                self._aliases.setdefault(obj["alias"], f"<alias {len(self._aliases) + 1}>")
        return [self.value(obj) for obj in listed]

    def value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            dropped = _DROPPED if key == "metadata" else _DROPPED_ANNOTATIONS if key == "annotations" else frozenset()
            kept = {name: self.value(value[name], name) for name in sorted(value) if name not in dropped}
            return {name: inner for name, inner in kept.items() if name != "annotations" or inner}
        if isinstance(value, list):
            # The analysis controller measures side by side: first come, first written.
            items = sorted(value, key=lambda item: item["name"]) if key == "metricResults" else value
            return [self.value(item) for item in items]
        if isinstance(value, str):
            return self._text(value)
        return "<pull>" if key in _PULL_KEYS and isinstance(value, int) else value

    def _text(self, text: str) -> str:
        for found, recorded in self._same.items():
            text = text.replace(found, recorded)
        if text in self._aliases:
            return self._aliases[text]
        return _SHORT_HASH.sub("<short>", _ANY.sub(self._placeholder, text))

    def _placeholder(self, found: re.Match[str]) -> str:
        kind = str(found.lastgroup)
        if kind in _UNNUMBERED:
            return f"<{kind}>"
        met = (kind, found[0])
        if met not in self._met:
            self._met[met] = f"<{kind} {sum(1 for known, _ in self._met if known == kind) + 1}>"
        return self._met[met]


def normalised(objects: Iterable[Mapping[str, Any]], same: Mapping[str, str] | None = None) -> list[Any]:
    """Objects with placeholders for what differs from run to run.

    Args:
        objects: Kubernetes objects, in the order of the recording.
        same: Texts to read as another text, such as a name that had to differ.
    """
    return _Normaliser(same or {}).objects(objects)


def without(situation: Mapping[str, Any], difference: Difference) -> Obj:
    """A copy of a situation without the field in which it differs."""
    copied: Obj = copy.deepcopy(dict(situation))
    parts = re.findall(r"\[[^\]]+\]|[^.\[\]]+", difference.field)
    inner = copied["objects"][difference.index] if difference.index >= 0 else copied["answers"]
    for part in parts[:-1]:
        inner = inner[_place(inner, part[1:-1])] if part.startswith("[") else inner[part]
    del inner[parts[-1]]
    return copied


def _place(values: list[Any], label: str) -> int:
    return next(index for index, value in enumerate(values) if _label(value, index) == label)


def compare(
    recording: Mapping[str, Any], observation: Mapping[str, Any], same: Mapping[str, str] | None = None
) -> list[Difference]:
    """Every field in which a situation's objects and answers are not as recorded.

    Args:
        recording: `objects` and `answers`, as recorded.
        observation: `objects`, in the same order, and `answers`, as they are here.
        same: Texts to read as another text, such as a name that had to differ.
    """
    left, right = _Normaliser(same or {}), _Normaliser(same or {})
    recorded, found = left.objects(recording["objects"]), right.objects(observation["objects"])
    differing = [
        difference
        for index in range(max(len(recorded), len(found)))
        for difference in _object_differences(
            index,
            recorded[index] if index < len(recorded) else MISSING,
            found[index] if index < len(found) else MISSING,
        )
    ]
    answers = left.value(recording.get("answers") or {}), right.value(observation.get("answers") or {})
    return differing + [Difference("answers", *rest) for rest in _differences(*answers)]


def _object_differences(index: int, recorded: Any, found: Any) -> list[Difference]:
    name = _object_name(found if recorded == MISSING else recorded)
    return [Difference(name, *rest, index) for rest in _differences(recorded, found)]


def _object_name(obj: Mapping[str, Any]) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


def _differences(recorded: Any, found: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(recorded, dict) and isinstance(found, dict):
        return [
            difference
            for name in sorted({*recorded, *found})
            for difference in _differences(
                recorded.get(name, MISSING), found.get(name, MISSING), f"{path}.{name}" if path else name
            )
        ]
    if isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        return [
            difference
            for index, (left, right) in enumerate(zip(recorded, found, strict=True))
            for difference in _differences(left, right, f"{path}[{_label(left, index)}]")
        ]
    return [] if recorded == found else [(path, recorded, found)]


def _label(value: Any, index: int) -> str:
    if isinstance(value, dict):
        for name in ("type", "alias", "as"):
            if isinstance(value.get(name), str):
                return str(value[name])
    return str(index)


def _short(value: Any) -> str:
    text = value if value == MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"
