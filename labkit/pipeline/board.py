"""The live board: the pipeline with buttons, in a notebook or as a page of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import ipywidgets as widgets

from labkit.config import Lab
from labkit.observability.events import EventTable, read_events
from labkit.pipeline.actions import Action, Ask, actions_of
from labkit.pipeline.background import Ticker, Work
from labkit.pipeline.picture import Said, card, clock, colours_of, feed, picture, result, said, style, words_of
from labkit.pipeline.state import Pipeline, read_pipeline
from labkit.quantities import duration
from labkit.theme import NEUTRAL

SECONDS = 2.0
_FEED_EVERY = 5
_FEED_MINUTES = 30


class PipelineBoard:
    """The pipeline as it is now, and what can be done with it.

    The board looks again by itself as long as its kernel runs, also while a cell is executed; `stop` ends that. What
    is shown and what is pressed are an ipywidget; where there are none, it is a picture of the moment.

    Args:
        lab: The lab.
        seconds: Pause between two looks.

    Attributes:
        widget: The whole board.
        buttons: A button for each action, by the action's key.
        answers: The fields of the action that is being confirmed, by their names.
        confirm: Does what was asked about.
        cancel: Does not.
        message: What is said of an action.
    """

    def __init__(self, lab: Lab, *, seconds: float = SECONDS) -> None:
        self._lab = lab
        self._lock = threading.RLock()  # of what is shown
        self._reading = threading.Lock()
        self._pipeline = Pipeline((), datetime.now(UTC))
        self._events = EventTable(())
        self._trouble: tuple[str, ...] = ()
        self._looks = 0
        self._work: Work | None = None
        self._asking: Action | None = None
        self._running: Action | None = None
        self.answers: dict[str, Any] = {}
        self._actions: dict[str, Action] = {}
        self._cards: dict[str, widgets.HTML] = {}
        self.buttons: dict[str, widgets.Button] = {}
        self._top = widgets.HTML()
        self._stages = widgets.VBox()
        self.message = widgets.HTML()
        self._form = widgets.VBox()
        self.confirm = widgets.Button(description="Yes")
        self.cancel = widgets.Button(description="Cancel")
        self.confirm.add_class("labkit-forward").add_class("labkit-confirm")
        self.confirm.on_click(lambda _: self._confirmed())
        self.cancel.on_click(lambda _: self._dismissed())
        self._choice = _row(self.confirm, self.cancel)
        self._feed = widgets.HTML()
        self.widget = widgets.VBox(
            [widgets.HTML(style()), self._top, self._stages, self.message, self._form, self._choice, self._feed]
        )
        self.widget.add_class("labkit-board")
        self._ticker = Ticker(self.look, seconds)
        self._no_question()
        self.look()

    # What is shown

    def look(self) -> None:
        """Read the lab and show what was read; what cannot be read is said on the board."""
        with self._reading:
            trouble = _tried(self._read_pipeline) or _tried(self._read_events)
            with self._lock:
                self._trouble = trouble
                self._trouble = _tried(self._show) or trouble
                self._top.value = self.heading

    def _read_pipeline(self) -> None:
        self._pipeline = read_pipeline(self._lab)

    def _read_events(self) -> None:
        if self._looks % _FEED_EVERY == 0 and self._pipeline.views:
            self._events = read_events(self._lab, since=self._pipeline.at - timedelta(minutes=_FEED_MINUTES))
        self._looks += 1

    def _show(self) -> None:
        pipeline = self._pipeline
        actions = [action for view in pipeline.views for action in actions_of(pipeline, view)]
        names, keys = [view.name for view in pipeline.views], [action.key for action in actions]
        if list(self._cards) != names or list(self.buttons) != keys:
            self._lay_out()
        for view in pipeline.views:
            self._cards[view.name].value = card(view, pipeline.at)
        for action in actions:
            self._actions[action.key] = action
            self._show_button(action)
        self._feed.value = feed(self._events, colours_of(pipeline))
        if self._running and self._work:
            self._say_progress(self._running, self._work)

    @property
    def stopped(self) -> bool:
        """Whether it looks no more."""
        return self._ticker.stopped

    @property
    def heading(self) -> str:
        """The first line, as HTML: of when it is, or what could not be read."""
        if self._trouble:
            older = (f"What is below was so at {clock(self._pipeline.at)}",) if self._pipeline.views else ()
            return said(Said("The lab could not be read", "failed", (*self._trouble, *older, *self._over_already)))
        seen = f"as it was at {clock(self._pipeline.at)}"
        if not self._pipeline.views:
            seen = "there are no Stages yet: `labkit up` and `labkit deploy` make them"
        seen = ". ".join([seen, *self._over_already])
        return f'<div class="labkit-top"><b>Pipeline</b> <span class="labkit-quiet">{seen}</span></div>'

    @property
    def _over_already(self) -> tuple[str, ...]:
        return ("This board looks no more: run its cell again",) if self.stopped else ()

    def _lay_out(self) -> None:
        self._cards, self.buttons, self._actions = {}, {}, {}
        main: list[Any] = []
        aside: list[Any] = []
        for view in self._pipeline.views:
            self._cards[view.name] = widgets.HTML()
            row = _row(*(self._button(action) for action in actions_of(self._pipeline, view)))
            column = widgets.VBox([self._cards[view.name], row])
            column.add_class("labkit-column")
            if view.main:
                main += [widgets.HTML('<div class="labkit-arrow">→</div>')] if main else []
                main.append(column)
            else:
                aside.append(column)
        self._stages.children = [_columns(main), *([_columns(aside)] if aside else [])]

    def _button(self, action: Action) -> widgets.Button:
        button = widgets.Button()
        button.add_class(f"labkit-{action.key}")
        if action.main:
            button.add_class("labkit-forward")
        button.on_click(lambda _: self._pressed(action.key))
        self.buttons[action.key] = button
        return button

    def _show_button(self, action: Action) -> None:
        button = self.buttons[action.key]
        button.description, button.tooltip = action.label, action.about
        button.disabled = bool(action.blocked) or self._busy or self.stopped
        button.layout.display = None if action.shown else "none"

    @property
    def _busy(self) -> bool:
        return self._running is not None

    # What is pressed

    def _pressed(self, key: str) -> None:
        with self._lock:
            action = self._actions[key]
            if self._busy or self.stopped or action.blocked:
                return
            if action.question:
                self._ask(action)
            else:
                self._begin(action, {})

    def _ask(self, action: Action) -> None:
        self._asking = action
        self.answers = {ask.name: _field(ask) for ask in action.asks}
        self._say(action, "asked", action.question, f"This is done as {action.person}.")
        self._form.children = list(self.answers.values())
        self.confirm.description = f"{action.label}"
        self._choice.layout.display = None

    def _no_question(self) -> None:
        self._asking, self.answers, self._form.children = None, {}, []
        self._choice.layout.display = "none"

    def _dismissed(self) -> None:
        with self._lock:
            self._no_question()
            self.message.value = ""

    def _confirmed(self) -> None:
        with self._lock:
            action = self._asking
            if action is None:
                return
            answers = {name: str(field.value or "").strip() for name, field in self.answers.items()}
            missing = [ask.label for ask in action.asks if ask.needed and not answers[ask.name]]
            if missing:
                self._say(action, "asked", action.question, f"Still needed: {', '.join(missing)}.")
                return
            self._begin(action, answers)

    def _begin(self, action: Action, answers: dict[str, str]) -> None:
        self._no_question()
        self._running = action
        self._work = Work(
            action.label,
            lambda: action.act(self._lab, answers),
            lambda done, error: self._over(action, done, error),
        )
        self._say_progress(action, self._work)
        self._show_buttons()

    def _over(self, action: Action, done: Any, error: Exception | None) -> None:
        took = duration(round(self._work.seconds)) if self._work else ""
        self._looks = 0
        self.look()
        with self._lock:
            self._running = None
            if error is not None:
                self._say(action, "failed", f"{action.label} did not work", *words_of(error))
            else:
                self._say(action, "done", f"{action.label}: done in {took}", shown=result(done))
            self._show_buttons()

    def _show_buttons(self) -> None:
        for action in self._actions.values():
            self._show_button(action)

    def _say_progress(self, action: Action, work: Work) -> None:
        longest = duration(self._lab.limits.promotion_seconds)
        self._say(action, "running", f"{action.label} …", work.note, f"Each part of it may take up to {longest}.")

    def _say(self, action: Action, state: str, title: str, *lines: str, shown: str = "") -> None:
        colour = colours_of(self._pipeline).get(action.stage, NEUTRAL)
        self.message.value = said(Said(title, state, lines, shown, colour))

    def wait(self, timeout: float | None = None) -> None:
        """Wait until what was begun is over."""
        if self._work:
            self._work.join(timeout)

    def stop(self) -> None:
        """Look no more, and take no more orders; what was begun goes on."""
        self._ticker.stop()
        with self._lock:
            self._no_question()
            self._show()
            self._top.value = self.heading

    # How it is displayed

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widget, and beside it the picture, for whoever has no widgets."""
        self._ticker.start()
        with self._lock:
            trouble = self.heading if self._trouble else ""
            still = picture(self._pipeline, self._events, trouble=trouble)
        return {**self.widget._repr_mimebundle_(), "text/html": still, "text/plain": repr(self)}

    def __repr__(self) -> str:
        lines = [
            f"{view.title}: Freight {view.stage.freight or '–'}, {view.stage.health}, verified {view.stage.verified}"
            for view in self._pipeline.views
        ]
        return "\n".join([f"Pipeline as it was at {clock(self._pipeline.at)}", *lines, *self._trouble])


def _tried(act: Callable[[], None]) -> tuple[str, ...]:
    """What went wrong, if anything: nobody is above the thread that looks, so it is shown on the board."""
    try:
        act()
    except Exception as error:
        return words_of(error)
    return ()


def _row(*buttons: widgets.Button) -> widgets.Box:
    row = widgets.Box(buttons)
    row.add_class("labkit-buttons")
    return row


def _columns(columns: list[Any]) -> widgets.Box:
    row = widgets.Box(columns)
    row.add_class("labkit-columns")
    return row


def _field(ask: Ask) -> Any:
    wide, named = widgets.Layout(width="min(640px, 100%)"), {"description_width": "180px"}
    if ask.choices:
        return widgets.Dropdown(options=ask.choices, value=ask.answer, description=ask.label, layout=wide, style=named)
    return widgets.Text(value=ask.answer, description=ask.label, layout=wide, style=named)


_shown: list[PipelineBoard] = []


def pipeline_board(lab: Lab) -> PipelineBoard:
    """The live board of a lab; one that was made before in this kernel stops.

    Args:
        lab: The lab.
    """
    while _shown:
        _shown.pop().stop()
    _shown.append(PipelineBoard(lab))
    return _shown[0]
