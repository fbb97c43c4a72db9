"""Rows that display well: as a table in a notebook, as text in a terminal, as JSON for programs."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import rich.table
from rich.console import Console
from rich.text import Text

Row = TypeVar("Row")

_COLOURS = {
    "running": "green",
    "Healthy": "green",
    "Synced": "green",
    "Succeeded": "green",
    "Verified": "green",
    "True": "green",
    "ok": "green",
    "absent": "red",
    "failed": "red",
    "stopped": "yellow",
    "degraded": "red",
    "Degraded": "red",
    "Errored": "red",
    "Failed": "red",
    "missing": "red",
    "Progressing": "yellow",
    "OutOfSync": "yellow",
    "Running": "yellow",
    "Pending": "yellow",
}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return as_text(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


def as_text(values: Mapping[str, object]) -> str:
    """Names with what each has, as people write it: `frontend 1.0.0, backend 2.1.0`."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def plain(shown: Any) -> str:
    """What a terminal without colours would show."""
    out = io.StringIO()
    Console(file=out, width=200, color_system=None, force_jupyter=False).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


class Record:
    """A frozen dataclass that shows its fields one below the other, but those that only programs read."""

    not_shown: ClassVar[frozenset[str]] = frozenset()

    def _lines(self) -> list[tuple[str, str]]:
        shown = [item.name for item in fields(self) if item.name not in self.not_shown]  # type: ignore[arg-type]
        named = [(name.replace("_", " "), _text(getattr(self, name))) for name in shown]
        return [(name, text) for name, text in named if text]

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def __repr__(self) -> str:
        lines = self._lines()
        width = max((len(name) for name, _ in lines), default=0)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left;color:{_COLOURS.get(text, 'inherit')}'>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table>{rows}</table>"


@dataclass(frozen=True)
class Table(Sequence[Row], Generic[Row]):
    """Frozen dataclasses of one kind, shown as a table."""

    rows: tuple[Row, ...]
    title: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _cells(self) -> Iterator[list[str]]:
        for row in self.rows:
            yield [_text(getattr(row, column)) for column in self.columns]

    def _heads(self) -> list[str]:
        return [column.replace("_", " ").upper().replace(" GIB", " GiB") for column in self.columns]

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as plain values, every field of them."""
        return [asdict(row) for row in self.rows]  # type: ignore[call-overload]

    def __rich__(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for head in self._heads():
            table.add_column(head, overflow="fold")
        for cells in self._cells():
            table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
        return table

    def __repr__(self) -> str:
        return plain(self)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th style='text-align:left'>{html.escape(head)}</th>" for head in self._heads())
        body = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left;color:{_COLOURS.get(cell, 'inherit')}'>{html.escape(cell)}</td>"
                for cell in cells
            )
            + "</tr>"
            for cells in self._cells()
        )
        return f"<table><caption>{html.escape(self.title)}</caption><tr>{heads}</tr>{body}</table>"
