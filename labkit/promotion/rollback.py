"""Rollback: promoting Freight that was good in a Stage before, and verifying it there afresh."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.config import Lab
from labkit.errors import LabError, UsageError
from labkit.promotion.approval import finish
from labkit.promotion.freight import Freight, FreightTable, find_freight, freight_table
from labkit.promotion.promotion import (
    Promotion,
    PromotionTable,
    promotion_table,
    request_promotion,
    wait_for_promotion,
)
from labkit.promotion.stage import Stage, find_stage, wait_for_stage
from labkit.promotion.verification import (
    Verification,
    measured_since,
    reverify,
    verify_afresh,
    wait_for_verification,
)
from labkit.rules import rules
from labkit.wait import wait_for

PREVIOUS = "previous"


def rollback_candidates(lab: Lab, stage: str) -> FreightTable:
    """The Freight that a Stage can go back to, newest first.

    That is Freight which was verified in this Stage, does not run there now, and was never rolled back from there.
    """
    return good_before(find_stage(lab, stage), freight_table(lab), promotion_table(lab, stage))


def good_before(stage: Stage, freight: FreightTable, promotions: Iterable[Promotion]) -> FreightTable:
    """The same, of what was read before.

    Args:
        stage: The Stage.
        freight: All Freight, newest first.
        promotions: The Stage's Promotions.
    """
    bad = {row.rolled_back_from for row in promotions if row.rolled_back_from}
    return FreightTable(
        tuple(
            item
            for item in freight
            if stage.stage in item.verified_in and item.name != stage.freight_name and item.name not in bad
        )
    )


def freight_to_roll_back_to(lab: Lab, stage: str, revision: str = PREVIOUS) -> Freight:
    """The Freight that `--to-revision` means.

    Args:
        lab: The lab.
        stage: The Stage.
        revision: `previous`, a number (1 is the previous, 2 the one before it), or the Freight's alias or name.

    Raises:
        UsageError: There is no such Freight, or it was never verified in that Stage.
    """
    candidates = rollback_candidates(lab, stage)
    known = ", ".join(f"{number} ({item.alias})" for number, item in enumerate(candidates, start=1)) or "none"
    if revision == PREVIOUS or revision.isdecimal():
        number = 1 if revision == PREVIOUS else int(revision)
        if not 1 <= number <= len(candidates):
            raise UsageError(f"Stage {stage} has no revision {revision} to go back to", todo=f"there are: {known}")
        chosen: Freight = candidates[number - 1]
        return chosen
    freight = find_freight(lab, revision)
    if stage not in freight.verified_in:
        raise UsageError(
            f"Freight {freight.alias} was never verified in {stage}: going there is a promotion, not a rollback",
            todo=f"go back to one of: {known}",
        )
    return freight


def request_rollback(lab: Lab, stage: str, freight: Freight, *, as_user: str = "", reason: str = "") -> Promotion:
    """Ask for the Promotion that takes a Stage back; it carries the name of the Freight that is left behind.

    Raises:
        LabError: The Stage runs that Freight already, or Kargo refused.
    """
    current = find_stage(lab, stage).freight_name
    if current == freight.name:
        raise LabError(f"Stage {stage} runs Freight {freight.alias} already", todo="`labkit get stages`")
    return request_promotion(
        lab,
        stage,
        freight,
        as_user=as_user,
        reason=reason or f"rollback of {stage}",
        rolled_back_from=current,
    )


def wait_for_rollback(lab: Lab, stage: str, *, verified: bool = True) -> Stage:
    """Wait until a Stage was taken back by the lab itself, and runs verified Freight again.

    Args:
        lab: The lab.
        stage: The Stage.
        verified: Whether to wait until what it runs again is verified afresh, too.

    Raises:
        LabError: It was not, in time.
    """
    robot = rules().rollback_bot
    undone = wait_for(
        f"an automatic rollback of {stage}",
        lambda: promotion_table(lab, stage)[0],
        lambda newest: newest.requester == robot and newest.done,
        describe=lambda newest: f"newest Promotion by {newest.requester or 'Kargo'}: {newest.phase}",
        timeout=lab.limits.promotion_seconds,
        todo="`labkit logs promotion-guard`",
    )
    return wait_for_stage(lab, stage, find_freight(lab, undone.freight_name)) if verified else find_stage(lab, stage)


def rollback(
    lab: Lab,
    stage: str,
    revision: str = PREVIOUS,
    *,
    as_user: str = "",
    approved: bool = False,
    reason: str = "",
) -> PromotionTable:
    """What `labkit rollback stage STAGE --to-revision REVISION` does: promote what was good, and verify it afresh.

    Args:
        lab: The lab.
        stage: The Stage.
        revision: See `freight_to_roll_back_to`.
        as_user: Who asks; the lab's requester where nobody is named.
        approved: Approve and merge as the lab's approver, where the Promotion opens a pull request.
        reason: Why.

    Returns:
        The Promotion as it is in the end: done, or waiting for its pull request.
    """
    freight = freight_to_roll_back_to(lab, stage, revision)
    done = finish(lab, request_rollback(lab, stage, freight, as_user=as_user, reason=reason), approved=approved)
    if done[0].done:
        newest = wait_for_verification(lab, stage, freight, since=done[0].finished)
        if not measured_since(lab, newest, done[0].finished):
            reverify(lab, stage)
    return done


def try_rollback(lab: Lab, stage: str, revision: str = PREVIOUS, *, reason: str = "") -> Verification:
    """Roll back a Stage that needs no approval, where it may turn out that what was good is so no longer.

    Args:
        lab: The lab.
        stage: The Stage.
        revision: See `freight_to_roll_back_to`.
        reason: Why.

    Returns:
        The fresh verification of what the Stage has gone back to.
    """
    freight = freight_to_roll_back_to(lab, stage, revision)
    done = wait_for_promotion(lab, request_rollback(lab, stage, freight, reason=reason))
    found = wait_for_verification(lab, stage, freight, since=done.finished)
    # Where Freight comes back, Kargo may count what was measured when it was there before.
    return found if measured_since(lab, found, done.finished) else verify_afresh(lab, stage)
