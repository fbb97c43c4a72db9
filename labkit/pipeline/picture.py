"""The board as HTML: what its widgets show, and the static picture where there are none."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labkit.errors import LabError
from labkit.observability.events import Event
from labkit.paths import DATA
from labkit.pipeline.state import Pipeline, StageView
from labkit.quantities import duration
from labkit.templates import render
from labkit.theme import NEUTRAL

_EVENTS = 40
_MARKS = {"success": "✓", "pending": "○", "failure": "✗"}


@dataclass(frozen=True)
class Said:
    """What is said below the Stages: of an action, or of what went wrong.

    Attributes:
        title: What it is about.
        state: `asked`, `running`, `done` or `failed`; of the picture's CSS.
        lines: What is said, a paragraph each.
        shown: More, as HTML.
        colour: Of the Stage that it is about.
    """

    title: str
    state: str
    lines: tuple[str, ...] = ()
    shown: str = ""
    colour: str = NEUTRAL


def style() -> str:
    """The board's CSS, as a part of a page."""
    return f"<style>{(DATA / 'pipeline' / 'board.css').read_text()}</style>"


def card(view: StageView, at: datetime) -> str:
    """A Stage: Freight, versions, health, verification, since when, what is under way and what waits."""
    return render("pipeline/card.html", view=view, since=_since(view, at), marks=_MARKS, clock=clock)


def _since(view: StageView, at: datetime) -> str:
    return f"here for {duration(round((at - view.since).total_seconds()))}" if view.since else ""


def feed(events: Iterable[Event], colours: Mapping[str, str]) -> str:
    """What has happened, newest first.

    Args:
        events: In order of time.
        colours: The Stages' colours, by their names.
    """
    newest = sorted(events, key=lambda item: item.end or item.time, reverse=True)[:_EVENTS]
    return render("pipeline/feed.html", events=newest, colours=colours, clock=clock)


def said(words: Said) -> str:
    """What is said of an action."""
    return render("pipeline/said.html", said=words)


def picture(pipeline: Pipeline, events: Iterable[Event], *, trouble: str = "") -> str:
    """The board without buttons, for where nothing can be pressed: a headless run, an exported page.

    Args:
        pipeline: What to show.
        events: In order of time.
        trouble: What could not be read, as HTML.
    """
    return render(
        "pipeline/board.html",
        style=style(),
        at=clock(pipeline.at),
        cards={view.name: card(view, pipeline.at) for view in pipeline.views},
        pipeline=pipeline,
        feed=feed(events, colours_of(pipeline)),
        trouble=trouble,
    )


def colours_of(pipeline: Pipeline) -> dict[str, str]:
    """The Stages' colours, by their names."""
    return {view.name: view.colour for view in pipeline.views}


def clock(time: datetime) -> str:
    """A time of day, as this machine's clock shows it."""
    return time.astimezone().strftime("%H:%M:%S")


def words_of(error: Exception) -> tuple[str, ...]:
    """What an error says: of a LabError what failed, what was seen and what to do."""
    if isinstance(error, LabError):
        return tuple(str(error).splitlines())
    return (f"{type(error).__name__}: {error}",)


def result(done: Any) -> str:
    """What an action returned, as HTML."""
    shown = getattr(done, "_repr_html_", None)
    return str(shown()) if shown else f"<pre>{html.escape(str(done))}</pre>"
