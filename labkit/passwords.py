"""Random passwords and tokens of a lab, kept in `$LABKIT_HOME/secrets` for its owner only."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from filelock import FileLock

from labkit.config import Lab


def password(lab: Lab, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(18)) -> str:
    """The lab's password of that name, made when first asked for.

    Args:
        lab: The lab.
        name: Whose password it is.
        make: How it is made; a token that another server hands out, for example.
    """
    file = lab.home.secrets / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Three Argo CDs are installed side by side and share passwords: the first to ask makes them.
        with FileLock(file.parent / ".lock", is_singleton=True):
            if not file.exists():
                value = make()
                new = file.with_name(f".{name}.new")
                new.touch(mode=0o600)
                new.write_text(value)
                new.replace(file)
    return file.read_text()
