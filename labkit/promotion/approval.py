"""Approval: who asked, who looked, who let it pass. PROD moves when its gates are open and a person merges."""

from __future__ import annotations

from labkit.clusters import kube
from labkit.config import PROJECT, REASON, Lab
from labkit.delivery.gitea import gitea_as
from labkit.errors import LabError, UsageError
from labkit.promotion.freight import find_freight
from labkit.promotion.gate import GateTable, gate_table
from labkit.promotion.promotion import (
    Promotion,
    PromotionTable,
    Refusal,
    freight_to_promote,
    get_promotion,
    refresh_promotion,
    request_promotion,
    wait_for_promotion,
)
from labkit.promotion.pull_request import REPO, get_pull_request
from labkit.promotion.stage import wait_for_stage
from labkit.rules import APPROVED, VALIDATED, rules
from labkit.services.kargo import KARGO_API
from labkit.wait import wait_for

_GATE_SECONDS = 30


def approve(lab: Lab, promotion: Promotion, *, as_user: str = "", words: str = "") -> Promotion:
    """Approve the pull request of a Promotion and merge it, and wait until the Promotion is done.

    Args:
        lab: The lab.
        promotion: The Promotion that waits; one that is done already is left alone.
        as_user: Who approves; the lab's approver where nobody is named.
        words: What the approval says.

    Returns:
        The Promotion once it is done.

    Raises:
        LabError: A gate is not open (names it and says why), or Gitea refused; nothing was merged.
    """
    if promotion.done:
        return promotion
    person, number = as_user or rules().approver, _pull_request_of(promotion)
    gitea_as(lab, person).review(REPO, number, "APPROVED", words or f"Approved by {person}")
    _assert_open(lab, promotion)
    merge_pull_request(lab, promotion, as_user=person)
    return wait_for_promotion(lab, promotion)


def try_approval(lab: Lab, promotion: Promotion, *, as_user: str) -> Promotion | Refusal:
    """Approve a Promotion whose gates may be closed.

    Args:
        lab: The lab.
        promotion: The Promotion that waits.
        as_user: Who approves.

    Returns:
        The Promotion once it is done, or why it may not be merged.
    """
    try:
        return approve(lab, promotion, as_user=as_user)
    except LabError as error:
        return Refusal(promotion.stage, promotion.freight, error.seen)


def merge_pull_request(lab: Lab, promotion: Promotion, *, as_user: str) -> None:
    """Merge the pull request of a Promotion, and have Kargo look at once.

    Raises:
        LabError: Gitea refused the merge; `seen` holds Gitea's own words.
    """
    gitea, number = gitea_as(lab, as_user), _pull_request_of(promotion)
    wait_for(
        f"pull request {number} to be mergeable",
        lambda: gitea.request("GET", f"/repos/{REPO}/pulls/{number}"),
        lambda pull: bool(pull["mergeable"]),
        describe=lambda pull: f"{pull['state']}, {'mergeable' if pull['mergeable'] else 'being checked'}",
        timeout=30,
    )
    gitea.merge(REPO, number)
    refresh_promotion(lab, promotion)


def _assert_open(lab: Lab, promotion: Promotion) -> None:
    """Wait until Gitea shows the gates as they are, and raise where one is not open."""
    head = get_pull_request(lab, promotion.pull_request).head
    gates = gate_table(lab, promotion)
    wanted = {row.gate: row.state for row in gates}
    viewer = gitea_as(lab, "viewer")
    wait_for(
        f"the gates of pull request {promotion.pull_request}",
        lambda: {name: state for name, state in viewer.commit_statuses(REPO, head).items() if name in wanted},
        lambda shown: shown == wanted,
        timeout=_GATE_SECONDS,
        todo="`labkit status` shows whether promotion-guard runs, `labkit logs promotion-guard` what it says",
    )
    if not gates.open:
        raise LabError(
            f"Promotion {promotion.promotion} may not be merged",
            seen="; ".join(f"{row.gate} is {row.state}: {row.why}" for row in gates if row.state != "success"),
            todo=_way_out(promotion.stage, gates),
        )


def _way_out(stage: str, gates: GateTable) -> str:
    gate = rules().gates[stage]
    ways = {
        VALIDATED: f"`labkit validate {gate.validation_stage}`",
        APPROVED: f"`labkit approve --as {gate.approvers[0]}`, where somebody else requested it",
    }
    return "; ".join(ways[row.gate] for row in gates if row.state != "success")


def reject(lab: Lab, promotion: Promotion, reason: str, *, as_user: str = "") -> Promotion:
    """Reject a Promotion: its pull request is closed with the reason, and the Promotion ends.

    Args:
        lab: The lab.
        promotion: The Promotion that waits.
        reason: Why; it stays on the pull request and on the Promotion.
        as_user: Who rejects; the lab's approver where nobody is named.

    Returns:
        The Promotion, which has failed.

    Raises:
        UsageError: There is no reason.
        LabError: Nothing waits, or Gitea does not let that person close the pull request.
    """
    if not reason:
        raise UsageError("A rejection needs its reason", todo='add `--reason "…"`')
    person, number = as_user or rules().approver, _pull_request_of(promotion)
    gitea = gitea_as(lab, person)
    gitea.review(REPO, number, "REQUEST_CHANGES", reason)
    gitea.request("PATCH", f"/repos/{REPO}/pulls/{number}", {"state": "closed"})
    annotations = {REASON: f"rejected by {person}: {reason}"}
    kube(lab, lab.control).patch(
        KARGO_API, "Promotion", promotion.promotion, {"metadata": {"annotations": annotations}}, PROJECT
    )
    refresh_promotion(lab, promotion)
    return wait_for(
        f"Promotion {promotion.promotion} to end",
        lambda: get_promotion(lab, promotion.promotion),
        lambda now: now.done,
        describe=lambda now: f"{now.phase} {now.message}".strip(),
        timeout=lab.limits.promotion_seconds,
    )


def _pull_request_of(promotion: Promotion) -> int:
    if promotion.done or not promotion.pull_request:
        raise LabError(
            f"Promotion {promotion.promotion} waits for nobody",
            seen=f"{promotion.phase} {promotion.message}".strip(),
            todo="`labkit get promotions` shows what waits",
        )
    return promotion.pull_request


def promote(
    lab: Lab,
    source: str,
    target: str,
    *,
    freight: str | None = None,
    approved: bool = False,
    as_user: str = "",
    reason: str = "",
    emergency: str = "",
) -> PromotionTable:
    """What `labkit promote --from SOURCE --to TARGET` does: ask, wait, and where told so approve and merge.

    Args:
        lab: The lab.
        source: The Stage whose Freight is promoted.
        target: The Stage that takes it.
        freight: Alias or name of another Freight than what runs in `source`.
        approved: Approve and merge as the lab's approver, where the Promotion opens a pull request.
        as_user: Who asks; the lab's requester where nobody is named.
        reason: Why, where that is worth keeping.
        emergency: Why it may pass a freeze.

    Returns:
        The Promotion as it is in the end: done, or waiting for its pull request.
    """
    chosen = find_freight(lab, freight) if freight else freight_to_promote(lab, source, target)
    promotion = request_promotion(lab, target, chosen, as_user=as_user, reason=reason, emergency=emergency)
    return finish(lab, promotion, approved=approved)


def finish(lab: Lab, promotion: Promotion, *, approved: bool, as_user: str = "", words: str = "") -> PromotionTable:
    """Wait until a Promotion is done and its Stage verified, or until it waits for a person.

    Args:
        lab: The lab.
        promotion: The Promotion.
        approved: Approve and merge, where it opens a pull request.
        as_user: Who approves; the lab's approver where nobody is named.
        words: What the approval says.

    Raises:
        LabError: It failed, a gate is not open, or its Stage did not pass verification.
    """
    promotion = wait_for_promotion(lab, promotion, until_pull_request=True)
    if not promotion.done and approved:
        promotion = approve(lab, promotion, as_user=as_user, words=words)
    if promotion.done:
        wait_for_stage(lab, promotion.stage, find_freight(lab, promotion.freight_name))
    return PromotionTable((promotion,))
