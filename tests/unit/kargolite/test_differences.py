"""The differences that the replay allows are those that the stand-in's README tells, and no wider than they say."""

import pytest
from conformance.compare import MISSING, Difference
from conformance.differences import all_reasons, judge, reasons

from labkit.paths import REPO

README = (REPO / "labkit" / "kargolite" / "README.md").read_text()
MISSED = Difference("Stage pre", "status.freightHistory[1].verificationHistory", [{"phase": "Successful"}], MISSING)


def _rows(heading):
    (section,) = (part for part in README.split("\n## ") if part.startswith(heading))
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines[1:]]


@pytest.mark.parametrize(
    ("section", "heading"),
    [("on-purpose", "Where it differs from Kargo, on purpose"), ("moment", "What depends on the moment")],
)
def test_the_readme_tells_the_same_differences(section, heading):
    assert _rows(heading) == [(reason.what, reason.here, reason.why) for reason in reasons(section)]


def test_every_difference_has_a_reason():
    assert all(reason.what and reason.here and reason.why for reason in all_reasons())
    assert len({reason.what for reason in all_reasons()}) == len(all_reasons())


def test_a_listed_difference_is_allowed_where_it_is_listed():
    allowed, others = judge("kargolite", "10", [MISSED])
    assert [difference for difference, _ in allowed] == [MISSED]
    assert others == []


@pytest.mark.parametrize(
    ("situation", "difference"),
    [
        ("09", MISSED),
        ("10", Difference("Stage dev", MISSED.field, MISSED.recorded, MISSING)),
        ("10", Difference("Stage pre", f"{MISSED.field}[0].phase", "Successful", "Failed")),
        ("10", Difference("Stage pre", MISSED.field, MISSED.recorded, [])),
    ],
)
def test_anything_else_is_not_allowed(situation, difference):
    assert judge("kargolite", situation, [difference]) == ([], [difference])


def test_what_the_stand_in_does_on_purpose_is_not_allowed_to_the_genuine_engine():
    fields = [(reason, field) for reason in reasons("on-purpose") for field in reason.allowed]
    assert fields, "no difference on purpose shows in a recording"
    assert {reason.engines for reason, _ in fields} == {("kargolite",)}
