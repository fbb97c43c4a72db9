"""What is read out of records to find the stories that were told."""

from datetime import UTC, datetime, timedelta

from labkit.promotion import Freight
from labkit.scenarios.hotfix import hotfix_commit
from labkit.scenarios.story import Fact, FactTable, built_from
from labkit.scenarios.told import Told

START = datetime(2026, 1, 1, tzinfo=UTC)


def freight(alias, minutes=0, **images):
    versions = {tier: version for tier, (version, _) in images.items()}
    revisions = {tier: revision for tier, (_, revision) in images.items() if revision}
    return Freight(alias, alias * 3, versions, revisions, (), (), (), START + timedelta(minutes=minutes))


RELEASE = freight("release", 1, frontend=("1.0.0", "aaa"), backend=("2.1.0", "bbb"))
FIX = freight("fix", 2, frontend=("1.0.1-hotfix-x.gccc", "ccc"), backend=("2.1.0", "bbb"))


def test_a_hotfix_is_known_by_the_build_of_a_branch_in_it():
    assert hotfix_commit(FIX) == "ccc"
    assert hotfix_commit(RELEASE) == ""


def test_an_image_chosen_by_its_digest_is_no_build_of_a_branch():
    assert hotfix_commit(freight("digest", frontend=("sha256:0123", "ddd"))) == ""


def test_freight_built_from_a_commit_is_the_first_that_has_it():
    assert built_from([FIX, RELEASE], "bbb") is RELEASE
    assert built_from([FIX, RELEASE], "ccc") is FIX
    assert built_from([FIX, RELEASE], "ddd") is None


def test_a_told_story_says_in_a_line_what_was_measured():
    facts = FactTable((Fact("lead time", 12.5, "s", ""), Fact("requests failed", 3, "requests", "")))
    assert Told("rollback", "", START, facts).measured == "lead time 12.5 s, requests failed 3 requests"
