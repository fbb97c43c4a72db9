"""Rows that display well."""

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.tables import Record, Table

# Printable text without blanks at its ends, as names, versions and messages are.
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@dataclass(frozen=True, repr=False)
class Berth(Record):
    """A row with every kind of value that the lab shows."""

    name: str
    health: str = "Healthy"
    memory_gib: float = 0
    versions: Mapping[str, str] | None = None
    stages: tuple[str, ...] = ()
    since: datetime | None = None
    hidden: str = ""


@dataclass(frozen=True, repr=False)
class Mooring(Record):
    """A record with a field for programs."""

    not_shown = frozenset({"number"})

    name: str
    number: int


def test_a_record_keeps_to_itself_what_only_programs_read():
    mooring = Mooring("north", 4711)
    assert repr(mooring) == "name  north"
    assert "4711" not in mooring._repr_html_()
    assert mooring.as_json() == {"name": "north", "number": 4711}


class BerthTable(Table[Berth]):
    """A table that leaves out a field."""

    title = "Berths"
    columns = ("name", "health", "memory_gib", "versions", "stages", "since")


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


FULL = Berth(
    name="north",
    memory_gib=12.0,
    versions={"frontend": "1.0.0", "backend": "2.1.0"},
    stages=("dev", "pre"),
    since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    hidden="kept",
)


def test_a_table_shows_its_columns_and_values_as_text():
    title, heads, row = repr(BerthTable((FULL,))).splitlines()
    assert title == "Berths"
    assert heads.split("  ")[0] == "NAME"
    assert "MEMORY GiB" in heads
    when = FULL.since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    for text in ("north", "Healthy", "12", "frontend 1.0.0, backend 2.1.0", "dev, pre", when):
        assert text in row
    assert "kept" not in row


def test_a_table_shows_its_columns_and_values_as_html():
    page = _Page(BerthTable((FULL,))._repr_html_())
    assert page.tags.count("table") == 1
    assert page.tags.count("th") == page.tags.count("td") == len(BerthTable.columns)
    assert {"Berths", "MEMORY GiB", "north", "frontend 1.0.0, backend 2.1.0", "dev, pre"} <= set(page.texts)


def test_a_state_has_its_colour():
    states = {"Healthy": "green", "Progressing": "yellow", "Degraded": "red", "Unknown": "inherit"}
    for state, colour in states.items():
        assert f"color:{colour}'>{state}<" in BerthTable((Berth("north", state),))._repr_html_()


def test_an_empty_table_is_false_and_shows_its_heads():
    table = BerthTable(())
    assert not table
    assert len(table) == 0
    assert table.as_json() == []
    assert "NAME" in repr(table)


def test_a_table_is_a_sequence_of_its_rows():
    rows = (Berth("a"), Berth("b"), Berth("c"))
    table = BerthTable(rows)
    assert list(table) == list(rows)
    assert (table[0], table[-1], table[1:]) == (rows[0], rows[-1], rows[1:])
    assert rows[1] in table


def test_json_has_every_field():
    assert BerthTable((FULL,)).as_json() == [asdict(FULL)]
    assert BerthTable((FULL,)).as_json()[0]["hidden"] == "kept"


def test_a_record_shows_its_fields_one_below_the_other():
    lines = repr(FULL).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "name",
        "health",
        "memory gib",
        "versions",
        "stages",
        "since",
        "hidden",
    ]
    assert len({line.index(line.split("  ", 1)[1].lstrip()) for line in lines}) == 1, "values are not aligned"


def test_a_record_leaves_out_what_is_empty():
    assert repr(Berth("north")).splitlines() == ["name        north", "health      Healthy", "memory gib  0"]
    assert "stages" not in Berth("north")._repr_html_()


def test_a_record_of_nothing_is_nothing():
    @dataclass(frozen=True, repr=False)
    class Empty(Record):
        note: str = ""

    assert repr(Empty()) == ""


@pytest.mark.parametrize("text", ["[red]alert[/]", ":100:", "a[0]", "<b>bold</b>", "step \"x\" & 'y'", "back\\"])
def test_text_is_shown_as_it_is(text):
    assert text in repr(BerthTable((Berth(text),)))
    assert text in repr(Berth(text))


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_any_text_survives_the_terminal(names):
    lines = repr(BerthTable(tuple(Berth(name) for name in names))).splitlines()
    assert [line.split(" ")[0] for line in lines[2:]] == names


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), min_size=1, max_size=3))
def test_any_text_is_text_in_html(names):
    for shown in (BerthTable(tuple(Berth(name) for name in names)), *(Berth(name) for name in names)):
        page = _Page(shown._repr_html_())
        assert set(page.tags) <= {"table", "caption", "tr", "th", "td"}
    page = BerthTable(tuple(Berth(name) for name in names))._repr_html_()
    for name in names:
        assert html.escape(name) in page
