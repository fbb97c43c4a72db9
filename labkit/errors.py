"""The lab's exceptions: what failed, what was seen last, and what to do."""

from __future__ import annotations


class LabError(Exception):
    """Something in the lab failed.

    Args:
        what: One sentence naming the thing that failed.
        seen: The last state that was observed, if any.
        todo: The way out: a command to run or a setting to change.
    """

    exit_code = 1
    mark, colour = "✗", 31  # how it begins in a notebook: red

    def __init__(self, what: str, *, seen: str = "", todo: str = "") -> None:
        self.what = what
        self.seen = seen
        self.todo = todo
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.seen:
            lines.append(f"Last seen: {self.seen}")
        if self.todo:
            lines.append(f"What to do: {self.todo}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """In a notebook: what a reader can use, and no stack of calls."""
        head, *more = str(self).split("\n")
        return [f"\x1b[{self.colour}m{self.mark} {head}\x1b[0m", *more]


class UsageError(LabError):
    """A wrong parameter: nothing was changed."""

    exit_code = 2


class WaitTimeout(LabError):  # noqa: N818 (it reads as what it is)
    """A condition was not met in time."""
