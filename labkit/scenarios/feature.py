"""A feature: from a developer's branch by way of a preview to `main`, and through DEV and PRE to PROD."""

from __future__ import annotations

from datetime import UTC, datetime

from labkit.config import PREVIEW, PREVIEW_PROJECT, PRODUCTION, Lab
from labkit.delivery.branches import Merge, commit_time
from labkit.demo_app import app_page
from labkit.deploy import build_feature, preview_branch, promote_freight, release_branch
from labkit.errors import LabError
from labkit.observability.events import read_events
from labkit.progress import step
from labkit.promotion import find_stage, freeze_table, freight_table, stage_table, verified_at
from labkit.scenarios.story import Beginning, Fact, FactTable, Story, built_from, production_freight, seconds_between
from labkit.services.pods import runs_pods

FEATURE = "gift wrapping"


def feature_story(lab: Lab, *, feature: str = FEATURE) -> Story:
    """Tell the whole story: branch, preview, pull request, DEV, PRE, PROD.

    Args:
        lab: The lab, with the newest release in DEV.
        feature: What is new, in a few words; the page will announce it.

    Raises:
        LabError: The lab is not as the story needs it, or something did not come as it should.
    """
    beginning = begin_feature(lab)
    branch = build_feature(lab, feature)
    preview_branch(lab, branch)
    merge, freight = release_branch(lab, branch)
    for environment in lab.environments:
        freight = promote_freight(lab, environment.name, freight)
    with step("Look at PROD's page"):
        assert_announced(lab, PRODUCTION, feature)
    return Story(
        beginning,
        feature_facts(lab, merge),
        read_events(lab, since=beginning.began),
        stage_table(lab),
    )


def begin_feature(lab: Lab) -> Beginning:
    """See that the lab is as the story needs it.

    Raises:
        LabError: It is not; says what to do.
    """
    if not runs_pods(lab):
        raise LabError("The pods of this lab are simulated: no page shows the feature", todo="use `--pods process`")
    dev = find_stage(lab, lab.control.name)
    if not dev.auto_promotion:
        raise LabError(f"Stage {dev.stage} is held: it would not take the release", todo=f"`labkit unhold {dev.stage}`")
    if frozen := ", ".join(row.stage for row in freeze_table(lab) if row.frozen):
        raise LabError(f"Stage {frozen} is frozen", todo=f"`labkit unfreeze {frozen}`")
    freight = production_freight(lab)
    return Beginning(datetime.now(UTC), freight.alias, freight.name, ())


def assert_announced(lab: Lab, stage: str, feature: str) -> str:
    """See that a Stage's page announces a feature; gives the words.

    Raises:
        LabError: It does not.
    """
    page = app_page(lab, stage)
    if feature not in page.announcement:
        raise LabError(f"The page of {stage} does not announce {feature}", seen=page.announcement or "nothing")
    return page.announcement


def feature_facts(lab: Lab, merge: Merge) -> FactTable:
    """What the story has measured, from Git's times of commits and Kargo's times of verification.

    Args:
        lab: The lab.
        merge: The feature's pull request.
    """
    committed, merged = commit_time(lab, merge.head), commit_time(lab, merge.commit)
    preview = built_from(freight_table(lab, project=PREVIEW_PROJECT), merge.head)
    previewed = verified_at(lab, preview, PREVIEW, project=PREVIEW_PROJECT) if preview else None
    release = built_from(freight_table(lab), merge.commit)
    there = {
        environment.name: verified_at(lab, release, environment.name) if release else None
        for environment in lab.environments
    }
    way = "commit on the branch → verified in preview"
    return FactTable(
        (
            Fact("until the preview", seconds_between(committed, previewed), "s", way),
            *(
                Fact(
                    f"until {stage.upper()}",
                    seconds_between(merged, reached),
                    "s",
                    f"the pull request was merged → the release was verified in {stage}",
                )
                for stage, reached in there.items()
            ),
            Fact(
                "lead time",
                seconds_between(committed, there[PRODUCTION]),
                "s",
                "commit on the branch → the release was verified in PROD",
            ),
        )
    )
