"""What a promotion's pull request says: image changes, verification results, rendered diff."""

from __future__ import annotations

from labkit.config import GATE_BOT, Lab
from labkit.delivery.gitea import gitea_as
from labkit.promotion.freight import find_freight
from labkit.promotion.promotion import Promotion
from labkit.promotion.pull_request import REPO, PullRequest
from labkit.promotion.stage import find_stage
from labkit.promotion.verification import verification_table
from labkit.templates import render

_OURS = "<!-- what follows is kept up to date by the lab -->"
_DIFF_CHARACTERS = 40_000


def full_text(lab: Lab, pull: PullRequest, promotion: Promotion) -> str:
    """The text of a pull request: what Kargo wrote, and below it what the lab knows about it.

    Args:
        lab: The lab.
        pull: The pull request.
        promotion: The Promotion that opened it.
    """
    intro = pull.text.partition(_OURS)[0].rstrip()
    stage, freight = find_stage(lab, promotion.stage), find_freight(lab, promotion.freight_name)
    diff = gitea_as(lab, GATE_BOT).pull_request_diff(REPO, pull.number)
    if len(diff) > _DIFF_CHARACTERS:
        diff = f"{diff[:_DIFF_CHARACTERS]}\n… cut: see the tab with the changed files"
    return render(
        "pull-request.md",
        intro=intro,
        stage=promotion.stage,
        images=[
            {"tier": tier, "before": stage.versions.get(tier, ""), "after": version}
            for tier, version in freight.versions.items()
        ],
        verifications=[
            row
            for upstream in freight.verified_in
            for row in verification_table(lab, upstream, freight_name=freight.name)[:1]
        ],
        # A fence inside the diff would end ours.
        diff=diff.replace("```", "` ` `").strip(),
    ).strip()
