"""What is being done right now, how far it is and how long it may take: in a terminal, a notebook, a log."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar

LONG = 2.0  # seconds: what takes longer says what it is doing
SAY_EVERY = 30.0  # seconds between lines of progress where they stay: in a log
_WIDTH = 100  # characters of a note
REDRAW_EVERY = 0.5  # seconds between two states of a line that is replaced: in a notebook

console = Console(stderr=True, highlight=False)


class _Bar(BarColumn):
    """Fills by what is done; where only the usual time is known, by that."""

    def render(self, task: Any) -> ProgressBar:
        expect = task.fields.get("expect")
        if task.total is None and expect:
            return ProgressBar(total=expect, completed=min(task.elapsed or 0.0, expect * 0.95), width=self.bar_width)
        return super().render(task)


class _Terminal:
    """Bars at the bottom of the terminal, one for each task that is under way; gone with the last."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._bars: Progress | None = None
        self._tasks: dict[Task, Any] = {}

    def begin(self, task: Task) -> None:
        with self._lock:
            if self._bars is None:
                columns = (TextColumn("{task.description}", markup=False), _Bar(24), TimeElapsedColumn())
                self._bars = Progress(*columns, console=console, transient=True)
                self._bars.start()
            self._tasks[task] = self._bars.add_task(task.doing, total=task.total, expect=task.expect)

    def show(self, task: Task) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.update(self._tasks[task], completed=task.done, description=task.doing)

    def end(self, task: Task, mark: str) -> None:
        with self._lock:
            assert self._bars is not None
            self._bars.remove_task(self._tasks.pop(task))
            if not self._tasks:
                self._bars.stop()
                self._bars = None
            _say(task.record(mark), mark)


class _Cell:
    """A line of a notebook's output that is replaced as the task goes on: of a run, its last state is kept."""

    def __init__(self) -> None:
        self._lines: dict[Task, Any] = {}

    def begin(self, task: Task) -> None:
        # Only a kernel has it, and only there this is called; a command line starts faster without.
        from IPython.display import display

        self._lines[task] = display(  # type: ignore[no-untyped-call]
            _line(task.so_far), raw=True, display_id=True
        )

    def show(self, task: Task) -> None:
        if task.unsaid >= REDRAW_EVERY:
            task.said()
            self._lines[task].update(_line(task.so_far), raw=True)

    def end(self, task: Task, mark: str) -> None:
        self._lines.pop(task).update(_line(task.record(mark), mark), raw=True)


class _Log:
    """Lines that stay: one at the end of a task, and before it one from time to time."""

    def begin(self, task: Task) -> None:
        pass

    def show(self, task: Task) -> None:
        if task.unsaid >= SAY_EVERY:
            task.said()
            _say(task.so_far)

    def end(self, task: Task, mark: str) -> None:
        _say(task.record(mark), mark)


def _say(line: str, mark: str = "") -> None:
    console.print(line, style="red" if mark == "✗" else None, markup=False, soft_wrap=True)


def _line(text: str, mark: str = "") -> dict[str, str]:
    style = " style='color:#c0392b'" if mark == "✗" else ""
    return {"text/plain": text, "text/html": f"<div{style}>{html.escape(text)}</div>"}


_terminal, _cell, _log = _Terminal(), _Cell(), _Log()


def _place() -> _Terminal | _Cell | _Log:
    if console.is_jupyter:
        return _cell
    return _terminal if console.is_terminal else _log


class Task:
    """One piece of work under way.

    Args:
        title: What is done, as a learner would say it.
        expect: Seconds it usually takes.
        at_most: Seconds after which it is given up.
        total: What `update` counts up to.
        began: When it began, where that was before now.
    """

    def __init__(
        self,
        title: str,
        *,
        expect: float | None = None,
        at_most: float | None = None,
        total: float | None = None,
        began: float | None = None,
    ) -> None:
        self.title, self.expect, self.at_most, self.total = title, expect, at_most, total
        self.done = 0.0
        self._note = ""
        self._began = time.monotonic() if began is None else began
        self._said = time.monotonic()
        self._place = _place()
        self._place.begin(self)

    def update(self, done: float, note: str = "") -> None:
        """Say how far it is: `done` of the total given at the start, and what is on now."""
        self.done, self._note = done, note
        self._place.show(self)

    def note(self, note: str) -> None:
        """Say what is on now."""
        self.update(self.done, note)

    def end(self, mark: str) -> None:
        """Leave the line of record."""
        self._place.end(self, mark)

    def said(self) -> None:
        """Remember that the reader has just been told."""
        self._said = time.monotonic()

    @property
    def unsaid(self) -> float:
        """Seconds since the reader was told."""
        return time.monotonic() - self._said

    @property
    def doing(self) -> str:
        """What is done, how long it may take, and what is on now."""
        expected = f" (about {self.expect:.0f} s)" if self.expect else ""
        limit = f" (at most {self.at_most:.0f} s)" if self.at_most else ""
        return f"{self.title}{expected}{limit}{f': {self._note}' if self._note else ''}"

    @property
    def so_far(self) -> str:
        """How far it is, in a line."""
        share = f" {self.done / self.total:.0%}" if self.total else ""
        seconds = time.monotonic() - self._began
        return f"…{share} {self.doing}{f' · {seconds:.0f} s so far' if seconds >= 1 else ''}"

    def record(self, mark: str) -> str:
        """What came of it, in a line."""
        return f"{mark} {self.title} ({time.monotonic() - self._began:.1f} s)"


# How a state looks that says no more than that it is not the wanted one yet.
_SAYS_NOTHING = ("", "True", "False", "None", "[]", "{}", "()")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


# The innermost step of this thread; a thread that has none works for the step that was begun first.
_under_way: ContextVar[Task | None] = ContextVar("under_way", default=None)
_steps: list[Task] = []


@contextmanager
def step(title: str, *, expect: float | None = None, total: float | None = None) -> Iterator[Task]:
    """Show a piece of work while it runs, and leave one line of record.

    Args:
        title: What is done, as a learner would say it.
        expect: Seconds it usually takes, shown with the title.
        total: What `Task.update` counts up to; without it the bar goes by the usual time, or only moves.
    """
    task = Task(title, expect=expect, total=total)
    _steps.append(task)
    outer = _under_way.set(task)
    mark = "✗"
    try:
        yield task
        mark = "✓"
    finally:
        _under_way.reset(outer)
        _steps.remove(task)
        task.end(mark)


@contextmanager
def waiting(what: str, at_most: float) -> Iterator[Callable[[str], None]]:
    """Show a wait: as what is on now in the step that it belongs to; one that has none, and is long, is a step itself.

    Args:
        what: What is waited for.
        at_most: Seconds after which it is given up.

    Yields:
        Tells the state that was seen last.
    """
    began, own, mark = time.monotonic(), None, "✗"
    outer = _under_way.get() or next(iter(_steps), None)

    def tell(state: str) -> None:
        nonlocal own
        if outer is None and own is None and time.monotonic() - began >= LONG:
            own = Task(f"Wait for {what}", at_most=at_most, began=began)
        seen = "" if state in _SAYS_NOTHING else state.strip().splitlines()[0]
        if outer is not None:
            outer.note(_short(f"{what}: {seen}" if seen else what))
        elif own is not None:
            own.note(_short(seen))

    try:
        yield tell
        mark = "✓"
    finally:
        if own is not None:
            own.end(mark)
