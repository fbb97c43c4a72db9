"""Holds: a Stage that takes new Freight by itself is kept where it is.

Kargo holds a Stage by itself when older Freight is promoted to it by hand, and lets go when what it would have
taken is promoted. A hold that somebody asks for switches the Stage's promotion policy off in the ProjectConfig.
"""

from __future__ import annotations

from labkit.clusters import kube
from labkit.config import HELD, PROJECT, Lab
from labkit.errors import UsageError
from labkit.promotion.freight import find_freight
from labkit.promotion.promotion import request_promotion, wait_for_promotion
from labkit.promotion.refresh import refresh
from labkit.promotion.stage import Stage, find_stage, wait_for_stage
from labkit.rules import rules
from labkit.services.kargo import KARGO_API
from labkit.wait import wait_for


def automatic_stages(lab: Lab) -> frozenset[str]:
    """The Stages that take new Freight by themselves, unless they are held."""
    found = kube(lab, lab.control).need(KARGO_API, "ProjectConfig", PROJECT, PROJECT)
    return frozenset(policy["stageSelector"]["name"] for policy in found["spec"]["promotionPolicies"])


def hold(lab: Lab, stage: str, *, as_user: str = "") -> Stage:
    """Keep a Stage from taking new Freight by itself, until the hold is lifted; promoting by hand still works.

    Args:
        lab: The lab.
        stage: The Stage.
        as_user: Who holds it; the lab's approver where nobody is named.

    Raises:
        UsageError: The Stage does not promote automatically.
    """
    return _switch(lab, stage, on=False, as_user=as_user or rules().approver)


def unhold(lab: Lab, stage: str, *, as_user: str = "") -> Stage:
    """Lift the holds of a Stage, those that were asked for and Kargo's own; it then takes the newest Freight again.

    Args:
        lab: The lab.
        stage: The Stage.
        as_user: Who lifts it; the lab's approver where nobody is named.

    Returns:
        The Stage; where Kargo held it, running and verified with what it takes by itself.
    """
    person = as_user or rules().approver
    row = _switch(lab, stage, on=True, as_user=person)
    if not row.held:
        return row
    # Promoting what would be taken by itself is how Kargo lets go.
    promotion = request_promotion(lab, stage, None, as_user=person, reason="the hold is lifted")
    wait_for_promotion(lab, promotion)
    return wait_for_stage(lab, stage, find_freight(lab, promotion.freight_name))


def _switch(lab: Lab, stage: str, *, on: bool, as_user: str) -> Stage:
    found = kube(lab, lab.control).need(KARGO_API, "ProjectConfig", PROJECT, PROJECT)
    policies = found["spec"]["promotionPolicies"]
    if stage not in [policy["stageSelector"]["name"] for policy in policies]:
        raise UsageError(f"Stage {stage} takes nothing by itself: there is nothing to hold")
    held = set(filter(None, (found["metadata"].get("annotations") or {}).get(HELD, "").split(",")))
    held = held - {stage} if on else held | {stage}
    change = {
        "metadata": {"annotations": {HELD: ",".join(sorted(held)) or None}},
        "spec": {
            "promotionPolicies": [
                {**policy, "autoPromotionEnabled": on} if policy["stageSelector"]["name"] == stage else policy
                for policy in policies
            ]
        },
    }
    kube(lab, lab.control, as_user=as_user).patch(KARGO_API, "ProjectConfig", PROJECT, change, PROJECT)
    refresh(lab, "Stage", stage)
    return wait_for(
        f"Stage {stage} to {'promote automatically' if on else 'be held'}",
        lambda: find_stage(lab, stage),
        lambda row: row.auto_promotion == on,
        describe=lambda row: f"auto-promotion {'on' if row.auto_promotion else 'off'}",
        timeout=30,
        todo=f"`kubectl --context {lab.control.context} -n {PROJECT} describe stage {stage}`",
    )
