"""What is being done right now, how far it is and how long it may take: in a terminal, a notebook, a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

SAY_EVERY = 30.0  # seconds between lines of progress where no bar can be shown (notebooks, logs)

console = Console(stderr=True, highlight=False)


class Task:
    """One piece of work under way."""

    def __init__(self, title: str, bar: Progress | None, total: float | None) -> None:
        self._title = title
        self._bar = bar
        self._id = bar.add_task(title, total=total) if bar else None
        self._total = total
        self._said = time.monotonic()

    def update(self, done: float, note: str = "") -> None:
        """Say how far it is: `done` of the total given at the start, and what is on now."""
        title = f"{self._title}: {note}" if note else self._title
        if self._bar is not None and self._id is not None:
            self._bar.update(self._id, completed=done, description=title)
        elif time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            share = f" {done / self._total:.0%}" if self._total else ""
            console.print(f"…{share} {title}", markup=False, soft_wrap=True)


@contextmanager
def step(title: str, *, expect: float | None = None, total: float | None = None) -> Iterator[Task]:
    """Show a piece of work while it runs, and leave one line of record.

    Args:
        title: What is done, as a learner would say it.
        expect: Seconds it usually takes, shown with the title.
        total: What `Task.update` counts up to; without it the bar only moves.
    """
    shown = f"{title} (about {expect:.0f} s)" if expect else title
    started = time.monotonic()
    bar = (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        if console.is_terminal and not console.is_jupyter
        else None
    )
    try:
        if bar:
            with bar:
                yield Task(shown, bar, total)
        else:
            yield Task(shown, None, total)
    except BaseException:
        console.print(f"✗ {title} ({time.monotonic() - started:.1f} s)", style="red", markup=False)
        raise
    console.print(f"✓ {title} ({time.monotonic() - started:.1f} s)", markup=False)
