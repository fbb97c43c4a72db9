"""What people ask for by annotations: refresh, reverify, abort."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from labkit.kargolite.model import ANNOTATION_ABORT, ANNOTATION_REVERIFY


@dataclass(frozen=True)
class Request:
    """What is asked for, and by whom.

    Attributes:
        subject: The verification's id, or the action (`terminate`).
        actor: Who asked, "" if that is not recorded.
    """

    subject: str
    actor: str

    def to_annotation(self, field: str) -> str:
        """The annotation's value, with the subject under `field` (`id` or `action`)."""
        parts = {field: self.subject} | ({"actor": self.actor} if self.actor else {})
        return json.dumps(parts, separators=(",", ":"))


def reverify_request(annotations: Mapping[str, str]) -> Request | None:
    """The request to verify anew, by the id of the verification that is not to count."""
    return _request(annotations.get(ANNOTATION_REVERIFY), "id")


def abort_verification_request(annotations: Mapping[str, str]) -> Request | None:
    """The request to end a verification, by its id."""
    return _request(annotations.get(ANNOTATION_ABORT), "id")


def abort_promotion_request(annotations: Mapping[str, str]) -> Request | None:
    """The request to end a Promotion: the action to take."""
    return _request(annotations.get(ANNOTATION_ABORT), "action")


def _request(value: str | None, field: str) -> Request | None:
    if not value:
        return None
    try:
        data = json.loads(value)
    except ValueError:
        return Request(value, "")
    if not isinstance(data, dict) or not data.get(field):
        return None
    return Request(str(data[field]), str(data.get("actor", "")))
