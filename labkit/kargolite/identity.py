"""The names that Kargo computes: Freight ids, Freight collection ids, names of Promotions and AnalysisRuns."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable

from labkit.asynckube.objects import Obj
from labkit.kargolite.model import origin_key
from labkit.kargolite.urls import normalize_git

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_SHORT = 7
_ULID_LENGTH = 26
_LONGEST_STAGE = 253 - 2 - _ULID_LENGTH - _SHORT


def freight_id(freight: Obj) -> str:
    """The hash over origin and artifacts that names Freight (Kargo's `GenerateFreightID`)."""
    parts = [_commit_part(commit) for commit in freight.get("commits") or []]
    parts += [
        f"{image.get('repoURL', '')}:{image.get('tag', '')}@{image.get('digest', '')}"
        for image in freight.get("images") or []
    ]
    parts += [_chart_part(chart) for chart in freight.get("charts") or []]
    parts += [
        f"{item.get('artifactType', '')}:{item.get('subscriptionName', '')}:{item.get('version', '')}"
        for item in freight.get("artifacts") or []
    ]
    return _sha1(f"{origin_key(freight['origin'])}:{'|'.join(sorted(parts))}")


def collection_id(freight_names: Iterable[str]) -> str:
    """The hash over the names of all Freight in a collection."""
    return _sha1(",".join(sorted(freight_names)))


def promotion_name(stage: str, freight: str) -> str:
    """`<stage>.<ulid>.<short freight>`, or "" where one of them is not known."""
    if not stage or not freight:
        return ""
    return f"{stage[:_LONGEST_STAGE]}.{new_ulid()}.{freight[:_SHORT]}".lower()


def analysis_run_name(stage: str, collection: str) -> str:
    """`<stage>.<ulid>.<short collection>`."""
    return f"{stage[:_LONGEST_STAGE]}.{new_ulid()}.{collection[:_SHORT]}".lower()


def new_ulid() -> str:
    """A new ULID in lower case; later ones sort after earlier ones, in the same millisecond too."""
    return _generator.next(time.time_ns() // 1_000_000)


class UlidGenerator:
    """Makes ULIDs that only ever grow (https://github.com/ulid/spec, monotonicity)."""

    def __init__(self) -> None:
        self._milliseconds = -1
        self._random = 0

    def next(self, milliseconds: int) -> str:
        """The ULID for a time in milliseconds since 1970."""
        if milliseconds > self._milliseconds:
            self._milliseconds, self._random = milliseconds, secrets.randbits(79)
        else:
            self._random += 1
        value = (self._milliseconds << 80) | self._random
        return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


_generator = UlidGenerator()


def _commit_part(commit: Obj) -> str:
    url = normalize_git(commit.get("repoURL", ""))
    return ":".join(part for part in (url, commit.get("tag", ""), commit.get("id", "")) if part)


def _chart_part(chart: Obj) -> str:
    url = chart.get("repoURL", "").strip().lower().removeprefix("oci://")
    place = "/".join(part for part in (url.rstrip("/"), chart.get("name", "")) if part)
    return f"{place}:{chart.get('version', '')}"


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
