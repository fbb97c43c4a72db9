"""A hotfix: what PROD runs with a fix in it, by the short way, and then the fix into the main line."""

from __future__ import annotations

from datetime import UTC, datetime

import semver

from labkit.config import HOTFIX, PRODUCTION, Lab
from labkit.delivery.branches import commit_time, merge_commit
from labkit.delivery.bugs import Bug
from labkit.demo_app import try_markup
from labkit.deploy import build_hotfix, ensure_bug, merge_hotfix, promote_freight
from labkit.errors import LabError
from labkit.observability.events import read_events
from labkit.progress import step
from labkit.promotion import (
    Freight,
    create_freight,
    find_freight,
    find_stage,
    freeze,
    freeze_table,
    freight_table,
    hold,
    stage_table,
    unfreeze,
    unhold,
    verified_at,
    wait_for_stage,
)
from labkit.scenarios.story import Beginning, Fact, FactTable, Story, built_from, production_freight, seconds_between
from labkit.services.pods import runs_pods

REASON = "orders put markup on everybody's page"
_DEV = "dev"
_PRE = "pre"
_FREEZE = "30m"


def hotfix_story(lab: Lab, *, reason: str = REASON) -> Story:
    """Tell the whole story: bug, fix, hotfix Stage, PRE, PROD, and the merge back into the main line.

    Args:
        lab: The lab, with the newest release in DEV.
        reason: Why it is an emergency; it is recorded.

    Raises:
        LabError: The lab is not as the story needs it, or something did not come as it should.
    """
    beginning = begin_hotfix(lab)
    bug = ensure_bug(lab)
    running = production_freight(lab)
    with step("DEV is held, and PROD frozen"):
        hold(lab, _DEV)
        freeze(lab, PRODUCTION, _FREEZE, reason=f"incident: {reason}")
    try:
        branch = build_hotfix(lab, bug, running)
        fix = create_freight(lab, running, {bug.tier: branch.versions[bug.tier]})
        for stage in (HOTFIX, _PRE, PRODUCTION):
            fix = promote_freight(lab, stage, fix, emergency=reason)
        with step("Try the bug in PROD again"):
            assert_fixed(lab, PRODUCTION, bug)
        merged = merge_hotfix(lab, branch, bug)
    finally:
        unfreeze(lab, PRODUCTION)
    with step("DEV takes the merge by itself", expect=15):
        unhold(lab, _DEV)
        wait_for_stage(lab, _DEV, merged)
    promote_freight(lab, _PRE, find_freight(lab, merged.name))
    return Story(
        beginning,
        hotfix_facts(lab, fix),
        read_events(lab, since=beginning.began),
        stage_table(lab),
    )


def begin_hotfix(lab: Lab) -> Beginning:
    """See that the lab is as the story needs it.

    Raises:
        LabError: It is not; says what to do.
    """
    if not runs_pods(lab):
        raise LabError("The pods of this lab are simulated: no page shows the bug", todo="use `--pods process`")
    if not find_stage(lab, _DEV).auto_promotion:
        raise LabError(f"Stage {_DEV} is held already", todo=f"`labkit unhold {_DEV}`")
    if frozen := ", ".join(row.stage for row in freeze_table(lab) if row.frozen):
        raise LabError(f"Stage {frozen} is frozen already", todo=f"`labkit unfreeze {frozen}`")
    freight = production_freight(lab)
    return Beginning(datetime.now(UTC), freight.alias, freight.name, ())


def assert_fixed(lab: Lab, stage: str, bug: Bug) -> None:
    """Try a bug on a Stage's page.

    Raises:
        LabError: It is still there.
    """
    found = try_markup(lab, stage, bug.field)
    if not found.harmless:
        raise LabError(f"{bug.bug} is still in {stage}", seen=found.shown)


def hotfix_facts(lab: Lab, fix: Freight) -> FactTable:
    """What the story has measured, from Git's times of commits and Kargo's times of verification.

    Args:
        lab: The lab.
        fix: The Freight made by hand.

    Raises:
        LabError: That Freight has no build of a branch.
    """
    commit = hotfix_commit(fix)
    if not commit:
        raise LabError(f"Freight {fix.alias} is no hotfix: all its versions are releases", seen=str(dict(fix.versions)))
    committed = commit_time(lab, commit)
    merge = merge_commit(lab, commit)
    merged = built_from(freight_table(lab), merge) if merge else None
    ways = (
        ("until tested", fix, HOTFIX, "verified in hotfix"),
        ("until PRE", fix, _PRE, "verified in pre"),
        ("lead time of the fix", fix, PRODUCTION, "verified in prod"),
        ("until the main line has it", merged, _PRE, "the merge's release was verified in pre"),
    )
    return FactTable(
        tuple(
            Fact(
                what,
                seconds_between(committed, verified_at(lab, freight, stage) if freight else None),
                "s",
                f"the fix was committed → {end}",
            )
            for what, freight, stage, end in ways
        )
    )


def hotfix_commit(freight: Freight) -> str:
    """The commit of a branch that one of a Freight's images was built from; empty where all are releases."""
    for tier, version in freight.versions.items():
        if semver.Version.is_valid(version) and semver.Version.parse(version).prerelease:
            return freight.revisions.get(tier, "")
    return ""
