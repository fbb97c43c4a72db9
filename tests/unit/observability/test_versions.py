"""Versions over time, from made-up Promotions."""

from datetime import UTC, datetime, timedelta

import pandas as pd

from labkit.observability.versions import version_figure, version_history
from labkit.promotion import Promotion

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = pd.Timestamp(NOON + timedelta(hours=1))
VERSIONS = {"F1": {"web": "1.0", "db": "5"}, "F2": {"web": "1.1", "db": "5"}}
COLOURS = {"dev": "#2f7ed8", "prod": "#1f9d63"}


def at(minutes):
    return pd.Timestamp(NOON + timedelta(minutes=minutes))


def promotion(stage, freight, minutes, phase="Succeeded"):
    values = dict.fromkeys(Promotion.__dataclass_fields__, "")
    facts = {"promotion": f"{stage}.{minutes}", "stage": stage, "freight": freight, "freight_name": freight}
    more = {"phase": phase, "created": NOON + timedelta(minutes=minutes - 1), "seconds": 60.0}
    return Promotion(**values | facts | more)


def history(*promotions):
    return version_history(promotions, VERSIONS, COLOURS, ["web", "db"])


def rows(frame):
    shown = frame.astype(object).where(frame.notna(), None)
    return [tuple(row) for row in shown[["environment", "tier", "version", "since", "until"]].itertuples(index=False)]


def test_a_version_lasts_until_another_comes():
    frame = history(promotion("dev", "F2", 20), promotion("dev", "F1", 10))
    assert rows(frame) == [
        ("dev", "web", "1.0", at(10), at(20)),
        ("dev", "web", "1.1", at(20), None),
        ("dev", "db", "5", at(10), None),
    ]


def test_what_did_not_succeed_or_is_forgotten_changes_nothing():
    frame = history(promotion("dev", "F1", 10), promotion("dev", "F2", 20, "Failed"), promotion("dev", "F0", 30))
    assert rows(frame) == [("dev", "web", "1.0", at(10), None), ("dev", "db", "5", at(10), None)]


def test_what_comes_back_has_a_row_of_its_own():
    frame = history(promotion("prod", "F1", 10), promotion("prod", "F2", 20), promotion("prod", "F1", 30))
    assert list(frame[frame["tier"] == "web"]["version"]) == ["1.0", "1.1", "1.0"]


def test_no_history_has_the_same_columns():
    kinds = history(promotion("dev", "F1", 10)).dtypes.astype(str).to_dict()
    assert history().dtypes.astype(str).to_dict() == kinds
    assert kinds["since"] == kinds["until"] == "datetime64[ns, UTC]"


def test_a_bar_for_each_version_ends_where_the_next_begins_or_now():
    figure = version_figure(history(promotion("dev", "F1", 10), promotion("dev", "F2", 20)), COLOURS, NOW)
    dev, prod = figure.data
    assert list(dev.y) == ["dev web", "dev web", "dev db"]
    assert list(dev.text) == ["1.0", "1.1", "5"]
    assert list(dev.x) == [10 * 60_000, 40 * 60_000, 50 * 60_000]
    assert dev.marker.color == ("rgb(47,126,216)", "rgb(33,88,151)", "rgb(47,126,216)"), "neighbours look alike"
    assert len(prod.y) == 0
    assert list(figure.layout.yaxis.categoryarray) == ["dev web", "dev db", "prod web", "prod db"]
