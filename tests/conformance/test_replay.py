"""The recorded situations, replayed on the running engine: nothing differs but what is listed as meant to.

The situations build on each other: asking for one replays those before it. How they compare is in `differences.yaml`
and the README beside it.
"""

from __future__ import annotations

import pytest
from conformance.differences import reasons
from conformance.replay import TOLD
from conformance.situations import recording, titles

TITLES = titles()
WHAT = {number: f"{number}-{TITLES.get(number, 'not recorded yet')}" for number in TOLD}


@pytest.mark.parametrize("number", TOLD, ids=WHAT.values())
def test_as_recorded(replay, number):
    outcome = replay.outcome(number)
    said = "\n".join(str(difference) for difference in outcome.others)
    assert not outcome.others, (
        f"{replay.bench.engine} differs from the recording of situation {WHAT[number]}:\n"
        f"{recording(number)['situation']}\n{said}"
    )


def test_every_recording_is_replayed():
    assert list(TOLD) == list(TITLES)


def test_every_allowed_field_belongs_to_situations():
    for section in ("on-purpose", "moment", "set-up"):
        for reason in reasons(section):
            for field in reason.allowed:
                assert field.situations
                assert set(field.situations) <= set(TITLES), reason.what
