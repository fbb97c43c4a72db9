"""How far environments are behind, from made-up records."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from labkit.config import load_lab
from labkit.drift import drift_between, drift_figure
from labkit.observability.versions import version_history
from labkit.promotion import Freight, Promotion, Stage, StageTable
from labkit.quantities import duration
from labkit.status import ApplicationStatus

LAB = load_lab()
COLOURS = {environment.name: environment.colour for environment in LAB.environments}
NAMES = list(COLOURS)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = pd.Timestamp(NOON + timedelta(minutes=100))
DTYPES = {
    "environment": "object",
    "tier": "object",
    "version": "object",
    "since": "datetime64[ns, UTC]",
    "newest": "object",
    "behind_newest": "Int64",
    "newest_seconds": "float64",
    "upstream": "object",
    "behind_upstream": "Int64",
    "upstream_seconds": "float64",
    "sync": "object",
    "as_promoted": "bool",
}


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def versions(version):
    return dict.fromkeys(LAB.tiers, version)


def freight(version, minutes, verified_in=("dev",)):
    return Freight(f"the-{version}", f"F{version}", versions(version), "", (), tuple(verified_in), (), at(minutes))


def promotion(stage, version, minutes, phase="Succeeded"):
    values = dict.fromkeys(Promotion.__dataclass_fields__, "")
    facts = {"promotion": f"{stage}.{minutes}", "stage": stage, "freight": f"the-{version}", "phase": phase}
    more = {"freight_name": f"F{version}", "pull_request": 0, "created": at(minutes - 1), "seconds": 60.0}
    return Promotion(**values | facts | more)


def application(context, version, sync="Synced"):
    return ApplicationStatus(context, sync, "Healthy", "", "", versions(version), "")


def stage(name, version):
    values = dict.fromkeys(Stage.__dataclass_fields__, "")
    return Stage(**values | {"stage": name, "versions": versions(version)})


RELEASES = [freight("0.9.0", 0), freight("0.9.5", 10), freight("0.10.0", 20)]
PROMOTIONS = [
    *(promotion("dev", "0.9.0", 1), promotion("dev", "0.9.5", 11), promotion("dev", "0.10.0", 21)),
    *(promotion("pre", "0.9.0", 2), promotion("pre", "0.9.5", 30), promotion("prod", "0.9.0", 40)),
]


def history(promotions=PROMOTIONS, known=RELEASES):
    return version_history(promotions, {item.name: item.versions for item in known}, NAMES, LAB.tiers)


def drift(runs=("0.10.0", "0.9.5", "0.9.0"), releases=RELEASES, promotions=PROMOTIONS, promoted=None, sync="Synced"):
    running = dict(zip(NAMES, runs, strict=True))
    frame = drift_between(
        LAB,
        {name: application(LAB.environment(name).context, version, sync) for name, version in running.items()},
        StageTable(tuple(stage(name, version) for name, version in (running | (promoted or {})).items())),
        releases,
        history(promotions, releases),
        NOW,
    )
    return frame[frame["tier"] == LAB.tiers[0]].set_index("environment")


def test_each_environment_and_tier_has_a_row_of_known_types():
    frame = drift_between(LAB, {}, StageTable(()), [], history([]), NOW)
    assert frame.empty
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert drift().dtypes.astype(str).to_dict() | {"environment": "object"} == DTYPES


def test_releases_are_counted_in_the_order_of_semver():
    found = drift()
    assert found["behind_newest"].to_dict() == {"dev": 0, "pre": 1, "prod": 2}
    assert found["behind_upstream"].dropna().to_dict() == {"pre": 1, "prod": 1}
    assert found["upstream"].to_dict() == {"dev": "", "pre": "0.10.0", "prod": "0.9.5"}


def test_how_long_is_since_the_first_newer_release_was_there():
    found = drift()
    assert found["newest_seconds"].to_dict() == {"dev": 0, "pre": 80 * 60, "prod": 90 * 60}
    # DEV has run 0.10.0 since minute 21, PRE 0.9.5 since minute 30.
    assert found["upstream_seconds"].dropna().to_dict() == {"pre": 79 * 60, "prod": 70 * 60}
    assert found["since"]["prod"] == pd.Timestamp(at(40))


def test_what_nobody_has_verified_is_no_release():
    unverified = [*RELEASES[:2], freight("0.10.0", 20, verified_in=())]
    found = drift(releases=unverified)
    assert found["newest"]["prod"] == "0.9.5"
    assert found["behind_newest"].to_dict() == {"dev": 0, "pre": 0, "prod": 1}
    assert found["behind_upstream"]["pre"] == 1, "DEV runs it all the same"


def test_an_environment_that_goes_back_is_as_far_behind_as_if_it_had_never_moved():
    back = [*PROMOTIONS, promotion("prod", "0.9.5", 50), promotion("prod", "0.9.0", 60)]
    found = drift(promotions=back)
    assert found["upstream_seconds"]["prod"] == drift()["upstream_seconds"]["prod"]
    assert found["since"]["prod"] == pd.Timestamp(at(60))


def test_a_version_that_is_none_is_not_compared():
    found = drift(runs=("0.10.0", "sha256:12", "0.9.0"))
    assert found["behind_newest"]["pre"] is pd.NA
    assert found["behind_upstream"]["prod"] is pd.NA
    assert pd.isna(found["since"]["pre"])


def test_what_was_not_promoted_is_marked():
    assert drift()["as_promoted"].all()
    by_hand = drift(promoted={"prod": "0.9.5"}, sync="OutOfSync")
    assert by_hand["as_promoted"].to_dict() == {"dev": True, "pre": True, "prod": False}
    figure = drift_figure(by_hand.reset_index(), COLOURS)
    assert figure.data[0].y[2] == "prod frontend <b>0.9.0</b> · OutOfSync · not as promoted"


def test_the_chart_says_what_the_table_says():
    frame = drift().reset_index()
    newest, upstream = drift_figure(frame, COLOURS).select_traces({"type": "bar"})
    assert list(newest.x) == [0, 1, 2]
    assert list(newest.text) == ["0", "1, for 1.33 h", "2, for 1.5 h"]
    assert upstream.text[0] == "–", "DEV has no upstream"
    assert list(upstream.x)[1:] == [1, 1]
    assert list(newest.marker.color) == list(COLOURS.values())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (90, "1.5 min"), (5400, "1.5 h"), (86400, "1 d"), (float("nan"), "–")],
)
def test_times_are_said_in_the_unit_that_suits_them(seconds, said):
    assert duration(seconds) == said
