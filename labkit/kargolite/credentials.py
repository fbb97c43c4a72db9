"""User names and passwords in Secrets: those for a Git repository, and those that expressions read."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.asynckube.objects import Obj, labels_of, name_of
from labkit.kargolite.expressions import TextMap
from labkit.kargolite.model import LABEL_CREDENTIAL_TYPE
from labkit.kargolite.urls import normalize_git


@dataclass(frozen=True)
class Credentials:
    """A user name, and a password or token."""

    username: str
    password: str


def secret_data(secret: Obj | None) -> TextMap:
    """A Secret's decoded values; empty where there is no Secret."""
    data = (secret or {}).get("data") or {}
    return TextMap({key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()})


def git_credentials(secrets: Iterable[Obj], url: str) -> Credentials | None:
    """What the first Secret (by name) labelled as Git credentials for that repository holds.

    Args:
        secrets: The Secrets of the Project's namespace.
        url: The repository's address; user, case, final slash and `.git` do not matter.
    """
    labelled = [item for item in secrets if labels_of(item).get(LABEL_CREDENTIAL_TYPE) == "git"]
    for secret in sorted(labelled, key=name_of):
        data = secret_data(secret)
        if "repoURL" in data and _fits(data["repoURL"], data.get("repoURLIsRegex") == "true", url):
            return Credentials(data.get("username", ""), data.get("password", ""))
    return None


def _fits(pattern: str, is_regex: bool, url: str) -> bool:
    if not is_regex:
        return normalize_git(pattern) == normalize_git(url)
    try:
        return bool(re.search(pattern, url) or re.search(pattern, normalize_git(url)))
    except re.error:
        return False
