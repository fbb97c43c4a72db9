"""Repository addresses as Kargo compares them: Freight ids and the choice of credentials depend on it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_USER_INFO = re.compile(r"(?P<scheme>https?://)[^/@\s]+@")
_SCP = re.compile(r"((?:[\w-]+@)?[\w-]+(?:\.[\w-]+)*)(?::(.*))?")


def normalize_git(url: str) -> str:
    """A Git address in the form that is compared: lower case, without user, final slash and `.git`."""
    text = url.strip().lower()
    if text.startswith(("http://", "https://", "ssh://")):
        parts = urlsplit(text)
        if parts.query:
            return url
        host = parts.netloc if parts.scheme == "ssh" else parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, _bare(parts.path), "", parts.fragment))
    found = _SCP.fullmatch(text)
    if not found:
        return url
    path = _bare(found[2] or "")
    return f"ssh://{found[1]}/{path}" if path else f"ssh://{found[1]}"


def without_password(text: str) -> str:
    """Hide user and password in every address of a text."""
    return _USER_INFO.sub(r"\g<scheme>***@", text)


def _bare(path: str) -> str:
    return path.removesuffix("/").removesuffix(".git")
